"""The refresh of prices: every source is asked, what can be trusted is kept for all workers."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from temporalio import activity

from activities.errors import ActivityFault
from activities.heartbeat import beating
from domain.errors import MissingPrice
from domain.fresh_prices import FreshPrice, newest, rows_from_json, rows_to_json
from domain.messages import PricesReport
from domain.ports import (
    DocumentName,
    Documents,
    PriceAnswer,
    PriceRefusal,
    PriceSource,
)
from domain.prices import PriceTable
from domain.steps import Step

PLAUSIBLE_FACTOR = 8.0
"""How far a price may lie from the table's, either way. Spot moves between a tenth of the on-demand
price and the whole of it, and the table has 0.4: a factor of four. Beyond is a fault of units."""

SOURCE_S = 120.0
"""What a source has not answered by then is refused, and what others brought is kept."""

REASONS_TOLD = 20
"""A report stands in workflow history: it tells what is wrong, not all of it."""

_LOG = logging.getLogger(__name__)


class PriceRefresh:
    """The refresh, and the activity ``refresh_prices``."""

    def __init__(
        self,
        sources: Sequence[PriceSource],
        seed: PriceTable,
        documents: Documents,
        regions: Sequence[str],
        source_s: float = SOURCE_S,
    ) -> None:
        """Hold what it takes.

        Args:
            sources: who is asked.
            seed: the table under version control, by which prices are found plausible.
            documents: where workers read.
            regions: those of the policy.
            source_s: how long each source may take.
        """
        self._sources = tuple(sources)
        self._seed = seed
        self._documents = documents
        self._regions = tuple(regions)
        self._source_s = source_s

    @activity.defn(name=Step.REFRESH_PRICES)
    async def refresh_prices(self) -> PricesReport:
        """One refresh of every region, at the time of the attempt."""
        async with beating():
            return await self.refresh(activity.info().started_time)

    async def refresh(self, now: datetime) -> PricesReport:
        """Ask every source, and store what is plausible. Idempotent.

        What a place had before stays where nothing newer came. Of two refreshes at once one may
        undo what the other wrote, which the next makes good.
        """
        answers = await asyncio.gather(*(self._ask(source, now) for source in self._sources))
        fresh: list[FreshPrice] = []
        refusals = [item for answer in answers for item in answer.refusals]
        for row in (row for answer in answers for row in answer.rows):
            if (reason := self._implausible(row)) is None:
                fresh.append(row)
            else:
                refusals.append(PriceRefusal(row.region, reason))
        if fresh:
            await asyncio.to_thread(self._keep, fresh)
        lines = tuple(_by_reason(refusals))
        for line in lines:
            _LOG.warning("prices: %s", line)
        return PricesReport(rows=len(newest(fresh)), refused=lines)

    async def _ask(self, source: PriceSource, now: datetime) -> PriceAnswer:
        """A source's answer; its failure as a refusal of every region of its cloud."""
        regions = [region for region in self._regions if region.startswith(f"{source.cloud}:")]
        if not regions:
            return PriceAnswer(())
        try:
            async with asyncio.timeout(self._source_s):
                answer = await source.fetch(regions, now)
        except TimeoutError:
            reason = f"no answer within {self._source_s:g} s"
        except ActivityFault as fault:
            reason = str(fault)
        except Exception as error:  # noqa: BLE001 - whatever it is
            # One adapter's defect must not cost what the others know.
            _LOG.exception("%s failed", source.name)
            reason = f"failed ({type(error).__name__})"
        else:
            return PriceAnswer(answer.rows, _named(source, answer.refusals))
        return PriceAnswer((), _named(source, [PriceRefusal(region, reason) for region in regions]))

    def _implausible(self, row: FreshPrice) -> str | None:
        """Why a price cannot be trusted, measured by the table; ``None`` where it can."""
        kind = row.capacity_type.value
        try:
            known = self._seed.price(*row.place)
        except MissingPrice:
            return f"{kind}: the price table has no row to lay it over"
        for what, usd, usual in (
            ("vCPU", row.usd_per_vcpu_hour, known.usd_per_vcpu_hour),
            ("GiB", row.usd_per_gib_hour, known.usd_per_gib_hour),
        ):
            if not usual / PLAUSIBLE_FACTOR <= usd <= usual * PLAUSIBLE_FACTOR:
                return f"{kind}: ${usd:.6g} per {what}-hour, where the table has ${usual:.6g}"
        return None

    def _keep(self, fresh: Sequence[FreshPrice]) -> None:
        content = self._documents.document(DocumentName.FRESH_PRICES)
        try:
            known = () if content is None else rows_from_json(content)
        except ValueError:
            known = ()  # of another build; all of it is fetched again, hour by hour
        self._documents.put_document(DocumentName.FRESH_PRICES, rows_to_json([*known, *fresh]))


def _named(source: PriceSource, refusals: Sequence[PriceRefusal]) -> tuple[PriceRefusal, ...]:
    return tuple(PriceRefusal(item.region, f"{source.name}: {item.reason}") for item in refusals)


def _by_reason(refusals: Sequence[PriceRefusal]) -> Iterator[str]:
    """A line for each reason, those that concern most regions first."""
    regions: dict[str, list[str]] = defaultdict(list)
    for item in refusals:
        regions[item.reason].append(item.region)
    most_first = sorted(regions.items(), key=lambda item: -len(item[1]))
    for reason, names in most_first[:REASONS_TOLD]:
        yield f"{', '.join(dict.fromkeys(names))}: {reason}"
    if (more := len(most_first) - REASONS_TOLD) > 0:
        yield f"{more} more reasons"
