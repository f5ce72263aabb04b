"""Several providers as one: each zone takes the first that answers for it.

Which signal steers a decision is not decided here: the two signals have their own order, and a
signal that is lost for some zones is told as it is (``domain/decision.py`` moves whole decisions).
Recovery needs nothing: every refresh begins at the head of the order again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from activities.carbon.questions import BUDGET_S, merged
from activities.errors import ActivityFault
from domain.forecast import Signal
from domain.ports import ProviderAnswer, Refusal, SignalProvider

WHOLE_S = BUDGET_S + 10.0
"""A provider keeps to a budget of its own; this is for one that hangs, or several that are slow."""

LEAST_S = 5.0
"""What a provider gets though the time is over: those that need nobody take a moment."""

_LOG = logging.getLogger(__name__)


class Failover:
    """A ``SignalProvider`` over others, in an order for each signal."""

    def __init__(
        self,
        order: Mapping[Signal, Sequence[SignalProvider]],
        *,
        zones: Mapping[Signal, Collection[str]] | None = None,
        whole_s: float = WHOLE_S,
        least_s: float = LEAST_S,
    ) -> None:
        """Hold the providers; the same one may stand under both signals.

        Args:
            order: the providers of each signal, the preferred one first.
            zones: those that a signal has, where it cuts the grid in its own way; all if left out.
            whole_s: how long a fetch may take.
            least_s: what each provider gets nevertheless.
        """
        self._order = {signal: tuple(providers) for signal, providers in order.items()}
        self._zones = zones
        self._whole_s = whole_s
        self._least_s = least_s

    @property
    def name(self) -> str:
        """Its own; forecasts bear the name of who made them."""
        return "failover"

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """For each signal and zone the first provider's forecast; both signals at once.

        A provider is asked for the zones that those before it left open. All refusals are told,
        also of zones that a later provider answered, and all observations are handed on.
        """
        answers = await asyncio.gather(
            *(
                self._one(signal, providers, self._zones_of(signal, zones), now)
                for signal, providers in self._order.items()
            )
        )
        return merged(answers)

    def _zones_of(self, signal: Signal, zones: Sequence[str]) -> Sequence[str]:
        if self._zones is None:
            return zones
        return [zone for zone in zones if zone in self._zones[signal]]

    async def _one(
        self,
        signal: Signal,
        providers: Sequence[SignalProvider],
        zones: Sequence[str],
        now: datetime,
    ) -> ProviderAnswer:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._whole_s
        parts: list[ProviderAnswer] = []
        left = list(dict.fromkeys(zones))
        for provider in providers:
            if not left:
                break
            time_s = max(end - loop.time(), self._least_s)
            answer = await self._ask(provider, signal, left, now, time_s)
            parts.append(answer)
            answered = {item.zone for item in answer.forecasts}
            left = [zone for zone in left if zone not in answered]
        return merged(parts)

    async def _ask(
        self,
        provider: SignalProvider,
        signal: Signal,
        zones: Sequence[str],
        now: datetime,
        time_s: float,
    ) -> ProviderAnswer:
        """One provider's answer about one signal; its failure as a refusal of every zone."""
        try:
            async with asyncio.timeout(time_s):
                answer = await provider.fetch(zones, now)
        except TimeoutError:
            reason = f"no answer within {time_s:.3g} s"
        except ActivityFault as fault:
            # As persistence has it where the store is out of reach: it says what is wrong.
            reason = f"failed ({fault})"
        except Exception as error:  # noqa: BLE001 - whatever it is
            # One adapter's defect must not cost what the others know.
            _LOG.exception("%s failed", provider.name)
            reason = f"failed ({type(error).__name__})"
        else:
            return ProviderAnswer(
                tuple(item for item in answer.forecasts if item.signal is signal),
                tuple(item for item in answer.observations if item.signal is signal),
                tuple(item for item in answer.refusals if item.signal is signal),
            )
        return ProviderAnswer(
            (), (), tuple(Refusal(zone, signal, f"{provider.name}: {reason}") for zone in zones)
        )
