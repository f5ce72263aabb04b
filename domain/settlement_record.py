"""The ``settlement`` event: from a job's chain and observations to figures and back.

A settlement refers by hash to all that it used: observations, prices, catalogue, methodology. So
``recompute`` needs nothing but the chain and the blobs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import rfc8785

from domain.capacity import CapacityType
from domain.decision_record import Blobs, inputs_of, placement_of
from domain.errors import MissingBlob
from domain.forecast import Observation, Signal
from domain.job import Counterfactual, RunState
from domain.ledger import EventKind, LedgerEvent
from domain.manifest import JobManifest
from domain.messages import AttemptRecord
from domain.reclaims import Exposure
from domain.settlement import (
    Accounting,
    Observed,
    observed_from,
    settle,
)


def settlement_of(
    events: Sequence[LedgerEvent], blobs: Blobs, observed: Observed
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The settlement of a closed job's latest execution: event data and its blobs.

    Raises:
        NotYetPublished: an hour that it needs is not observed yet.
        MissingBlob: an input of the deciding event is gone.
    """
    execution = _latest_execution(events)
    manifest, accounting, counterfactual = _basis(execution, blobs)
    attempts = _attempts(execution)
    seen = _Recorder(observed)
    settlement = settle(manifest, attempts, counterfactual, accounting, seen)
    content = seen.canonical()
    observations = hashlib.sha256(content).hexdigest()
    decision = _first_decision(execution)
    data = {
        **settlement.as_json(),
        "methodology": accounting.methodology.version,
        "inputs": {"observations": observations, "decision": decision.seq},
        "through": execution[-1].seq,
        **_saving(decision.data["placement"], settlement.as_json()),
    }
    return data, {observations: content}


def recompute(event: LedgerEvent, events: Sequence[LedgerEvent], blobs: Blobs) -> Mapping[str, Any]:
    """The data of a settlement event, computed again from what it names."""
    before = [item for item in events if item.seq <= event.data["through"]]
    observations = event.data["inputs"]["observations"]
    content = blobs([observations]).get(observations)
    if content is None:
        raise MissingBlob(observations)
    data, _ = settlement_of(before, blobs, observed_from(_series(content)))
    return data


def spot_exposures(events: Sequence[LedgerEvent]) -> tuple[tuple[str, Exposure], ...]:
    """(region, exposure) of each Spot run of the latest execution that began, in accounted hours.

    A run taken back before it began tells nothing of a rate per hour of running.
    """
    execution = _latest_execution(events)
    time_scale = float(_last_decision(execution).data["time_scale"])
    return tuple(
        (
            run.cell.region,
            Exposure(
                hours=max(0.0, (ended_at - started_at).total_seconds()) * time_scale / 3600,
                reclaims=float(run.report.state is RunState.RECLAIMED),
            ),
        )
        for run in _attempts(execution)
        if run.cell.capacity_type is CapacityType.SPOT
        if (started_at := run.report.started_at) and (ended_at := run.report.ended_at)
    )


def promised(events: Sequence[LedgerEvent]) -> Mapping[str, Any]:
    """The placement of the job's first decision: what was promised."""
    return _first_decision(_latest_execution(events)).data["placement"]  # type: ignore[no-any-return]


def _saving(placement: Mapping[str, Any], settled: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the saving that the first placement promised, if it promised any."""
    if placement.get("saving") is None:
        return {}
    figure = f"{placement['basis']}_carbon_g"
    without, actual = settled["counterfactual"][figure], settled["actual"][figure]
    unknown = without is None or actual is None
    return {
        "saving": {
            "basis": placement["basis"],
            **placement["saving"],
            "realised_g": None if unknown else round(without - actual, 6),
        }
    }


def _latest_execution(events: Sequence[LedgerEvent]) -> Sequence[LedgerEvent]:
    """Events from the last decision of reason ``plan`` on."""
    first = max(
        index
        for index, event in enumerate(events)
        if event.kind is EventKind.DECISION and event.data["reason"] == "plan"
    )
    return events[first:]


def _first_decision(execution: Sequence[LedgerEvent]) -> LedgerEvent:
    return execution[0]


def _last_decision(execution: Sequence[LedgerEvent]) -> LedgerEvent:
    return [event for event in execution if event.kind is EventKind.DECISION][-1]


def _basis(
    execution: Sequence[LedgerEvent], blobs: Blobs
) -> tuple[JobManifest, Accounting, Counterfactual]:
    """Manifest, accounting and counterfactual as the last decision had them."""
    last = _last_decision(execution)
    inputs = inputs_of(last.data, blobs)
    world = inputs.world
    accounting = Accounting(
        catalogue=world.catalogue,
        prices=world.prices,
        methodology=world.methodology,
        policy=world.policy,
        time_scale=world.time_scale,
        signals=frozenset((item.zone, item.signal) for item in world.forecasts),
    )
    return inputs.manifest, accounting, placement_of(last.data).counterfactual


def _attempts(execution: Sequence[LedgerEvent]) -> tuple[AttemptRecord, ...]:
    return tuple(
        AttemptRecord.model_validate(event.data)
        for event in execution
        if event.kind is EventKind.ATTEMPT
    )


class _Recorder:
    """Passes questions on and keeps the answers, so that the event can name what it used."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._points: dict[tuple[str, Signal, datetime], Observation] = {}

    def __call__(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        points = self._observed(zone, signal, start, end)
        self._points |= {(item.zone, item.signal, item.start): item for item in points}
        return points

    def canonical(self) -> bytes:
        return rfc8785.dumps(
            [
                [
                    item.zone,
                    item.signal.value,
                    item.start.isoformat(),
                    item.step_s,
                    item.g_per_kwh,
                    item.provider,
                ]
                for _, item in sorted(self._points.items())
            ]
        )


def _series(content: bytes) -> Mapping[tuple[str, Signal], Sequence[Observation]]:
    series: dict[tuple[str, Signal], list[Observation]] = {}
    for zone, signal, start, step_s, value, provider in json.loads(content):
        point = Observation(
            zone=zone,
            signal=Signal(signal),
            start=datetime.fromisoformat(start),
            step_s=float(step_s),
            g_per_kwh=float(value),
            provider=provider,
        )
        series.setdefault((zone, point.signal), []).append(point)
    return series
