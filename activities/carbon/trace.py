"""A real grid trace replayed as a signal provider, at its own pace or compressed in time.

The shipped trace is European data of 2019 (``traces/NOTICE.md``). Replay maps one trace hour to
``hour_s`` seconds on the clock; forecasts and observations carry clock times and steps, so that
nothing else in Lowtide knows of the compression but accounting (``World.time_scale``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from domain import persistence
from domain.errors import TraceUnreadable
from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer
from domain.trace import Trace, parse_trace

SHIPPED = Path(__file__).parent / "traces"
SHIPPED_FILES: Mapping[Signal, Path] = {
    Signal.AVERAGE: SHIPPED / "europe-2019-average.csv.gz",
    Signal.MARGINAL: SHIPPED / "europe-2019-marginal.csv.gz",
}

HISTORY_HOURS = persistence.DAYS_OF_PATTERN * 24
HOUR = timedelta(hours=1)


class ForecastModel(StrEnum):
    """What the replayed provider forecasts with."""

    PERSISTENCE = "persistence"
    """Only what was known then."""
    PERFECT = "perfect"
    """The trace itself: the bound that no forecast reaches, for comparison."""


def read_trace(path: Path) -> Trace:
    """A trace file, gzipped or plain. Raises ``TraceUnreadable``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TraceUnreadable(path.name, 0, str(error)) from None
    return parse_trace(path.name, content)


@dataclass(frozen=True, slots=True)
class Replay:
    """How the trace lies on the clock: trace instant ``trace_at`` is clock instant ``clock_at``."""

    clock_at: datetime
    trace_at: datetime
    hour_s: float = 3600.0
    """Seconds on the clock for one trace hour."""

    @property
    def time_scale(self) -> float:
        """Accounted seconds for each second on the clock."""
        return 3600.0 / self.hour_s

    def hour_at(self, now: datetime, trace: Trace) -> int:
        """Index of the trace hour in progress; may go over the end, where the trace goes round."""
        anchor = (self.trace_at - trace.start) // HOUR
        return anchor + int((now - self.clock_at).total_seconds() // self.hour_s)

    def clock_of(self, hour: int, trace: Trace) -> datetime:
        """When hour ``hour`` begins on the clock."""
        anchor = (self.trace_at - trace.start) // HOUR
        return self.clock_at + timedelta(seconds=(hour - anchor) * self.hour_s)


class TraceProvider:
    """A ``SignalProvider`` that replays a trace."""

    def __init__(
        self,
        traces: Mapping[Signal, Trace],
        replay: Replay,
        model: ForecastModel = ForecastModel.PERSISTENCE,
        horizon_hours: int = 48,
        observed_hours: int = 48,
    ) -> None:
        """Hold the traces.

        Args:
            traces: one trace a signal; a signal may be missing.
            replay: how trace time lies on the clock.
            model: what to forecast with.
            horizon_hours: trace hours that a forecast covers, the one in progress included.
            observed_hours: how many past trace hours each answer repeats as observed.
        """
        self._traces = traces
        self._replay = replay
        self._model = model
        self._horizon = horizon_hours
        self._observed = observed_hours

    @property
    def name(self) -> str:
        """As it stands in each forecast."""
        return "trace"

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """What the replayed grid would have told by ``now``."""
        forecasts: list[Forecast] = []
        observations: list[Observation] = []
        for signal, trace in self._traces.items():
            hour = self._replay.hour_at(now, trace)
            for zone in zones:
                if zone in trace.zones:
                    forecasts.append(self._forecast(zone, signal, trace, hour, now))
                    observations += self._observations(zone, signal, trace, hour)
        return ProviderAnswer(tuple(forecasts), tuple(observations))

    def _forecast(
        self, zone: str, signal: Signal, trace: Trace, hour: int, now: datetime
    ) -> Forecast:
        if self._model is ForecastModel.PERFECT:
            values = tuple(map(float, trace.window(zone, hour, self._horizon)))
            methodology = "perfect"
        else:
            history = trace.window(zone, hour - HISTORY_HOURS, HISTORY_HOURS)
            values = persistence.persistence_forecast(history, self._horizon)
            methodology = persistence.METHODOLOGY
        return Forecast(
            zone=zone,
            signal=signal,
            provider=self.name,
            methodology=methodology,
            issued_at=now,
            start=self._replay.clock_of(hour, trace),
            step_s=self._replay.hour_s,
            values=values,
        )

    def _observations(
        self, zone: str, signal: Signal, trace: Trace, hour: int
    ) -> list[Observation]:
        first = hour - self._observed
        return [
            Observation(
                zone=zone,
                signal=signal,
                start=self._replay.clock_of(first + offset, trace),
                step_s=self._replay.hour_s,
                g_per_kwh=float(value),
                provider=self.name,
            )
            for offset, value in enumerate(trace.window(zone, first, self._observed))
        ]
