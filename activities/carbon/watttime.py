"""WattTime's signals: the marginal ``co2_moer``, and the average ``co2_aoer``.

What to know of them (``watttime_api.py`` has the rest):

- Regions are WattTime's own, one for each signal: an answer's region is compared with the one
  asked for, and the region of one signal need not be that of the other (``region-from-loc``).
- ``co2_aoer`` is published for the past only ("historical only, for accounting purposes" in the
  vendor's own guide from v2 to v3): its forecast is made here, by persistence from its last days,
  and says so.
- A new model changes the figures. Pin one with ``model``; another's answer is then refused.
- ``meta.warnings`` are kept: see ``WattTime.warnings``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial

from activities.carbon.api import require_same
from activities.carbon.normalise import Series, observed, tidy
from activities.carbon.persistence import HISTORY, project
from activities.carbon.questions import Pace, Question, ask_all
from activities.carbon.watttime_api import API, NAME, Values, WattTimeApi
from activities.errors import AnswerRefused, ProviderMisconfigured
from domain import persistence
from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer

SIGNAL_TYPES: Mapping[Signal, str] = {Signal.MARGINAL: "co2_moer", Signal.AVERAGE: "co2_aoer"}
UNITS = "lbs_co2_per_mwh"
MAX_HORIZON_HOURS = 72

STALE_AFTER = timedelta(minutes=30)
"""Forecasts are made every five minutes."""

OBSERVED = timedelta(hours=24)
"""How much of the past an hour's fetch repeats: values are restated after publishing."""


class WattTime:
    """One signal of an account as a ``SignalProvider``."""

    def __init__(
        self,
        api: WattTimeApi,
        signal: Signal,
        regions: Mapping[str, str],
        *,
        model: date | None = None,
        horizon_hours: int = 48,
        min_horizon_hours: int = 24,
        stale_after: timedelta = STALE_AFTER,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        """Hold the account.

        Args:
            api: shared with the other signal's provider.
            signal: ``MARGINAL`` is ``co2_moer``, ``AVERAGE`` is ``co2_aoer``.
            regions: grid zone -> WattTime's region for this signal; other zones are not covered.
            model: pins the model; ``None`` takes the newest.
            horizon_hours: up to 72.
            min_horizon_hours: a forecast that covers less is refused.
            stale_after: a forecast issued longer ago is refused.
            pace: how often ``fetch`` is called, and what of the past it brings. A stand-in brings
                none: two providers' observations of one zone are two measures.

        Raises:
            ProviderMisconfigured: a horizon that is not offered.
        """
        if not min_horizon_hours <= horizon_hours <= MAX_HORIZON_HOURS:
            raise ProviderMisconfigured(
                NAME, "horizon_hours", horizon_hours, f"{min_horizon_hours} to {MAX_HORIZON_HOURS}"
            )
        self._api = api
        self._signal = signal
        self._regions = dict(regions)
        self._model = model
        self._horizon_hours = horizon_hours
        self._min_horizon = timedelta(hours=min_horizon_hours)
        self._stale_after = stale_after
        self._pace = pace
        self._warnings: dict[str, tuple[str, ...]] = {}

    @property
    def name(self) -> str:
        """As it stands in each forecast."""
        return NAME

    @property
    def warnings(self) -> Mapping[str, tuple[str, ...]]:
        """What the provider last warned of, by its region; regions without a warning are absent."""
        return dict(self._warnings)

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """Each zone's forecast and, in its region's slot of the hour, the last day's values.

        Zones of one region share its answer.
        """
        grouped: dict[str, list[str]] = defaultdict(list)
        for zone in zones:
            if zone in self._regions:
                grouped[self._regions[zone]].append(zone)
        questions = []
        for region, members in grouped.items():
            shared, due = tuple(members), self._pace.is_due(region, now)
            if self._signal is Signal.AVERAGE:
                ask = partial(self._projection, region, shared, now, observes=due)
                questions.append(Question(shared, ask))
                continue
            questions.append(Question(shared, partial(self._forecast, region, shared, now)))
            if due:
                questions.append(Question(shared, partial(self._history, region, shared, now)))
        return await ask_all(NAME, self._signal, questions, self._pace.budget_s)

    async def _forecast(self, region: str, zones: tuple[str, ...], now: datetime) -> ProviderAnswer:
        answer = await self._ask("forecast", region, {"horizon_hours": self._horizon_hours})
        issued_at = answer.meta.generated_at
        if issued_at is None:
            raise AnswerRefused("meta.generated_at: Field required")
        series = tidy(
            answer.points(),
            issued_at,
            now,
            min_horizon=self._min_horizon,
            stale_after=self._stale_after,
        )
        if series.step_s != answer.meta.data_point_period_seconds:
            raise AnswerRefused(
                f"data_point_period_seconds: {answer.meta.data_point_period_seconds} was told,"
                f" the points are {series.step_s:g} apart"
            )
        return self._forecasts(zones, series, issued_at, self._methodology(answer))

    async def _projection(
        self, region: str, zones: tuple[str, ...], now: datetime, *, observes: bool
    ) -> ProviderAnswer:
        answer = await self._values(region, now - HISTORY - OBSERVED, now)
        observations = _observations(answer, zones, self._signal, now)
        own = [item for item in observations if item.zone == zones[0]]
        series = project(own, now, horizon_hours=self._horizon_hours)
        made = self._forecasts(
            zones, series, now, f"{self._methodology(answer)}, {persistence.METHODOLOGY}"
        )
        recent = [item for item in observations if observes and item.start >= now - OBSERVED]
        return ProviderAnswer(made.forecasts, tuple(recent))

    async def _history(self, region: str, zones: tuple[str, ...], now: datetime) -> ProviderAnswer:
        answer = await self._values(region, now - OBSERVED, now)
        return ProviderAnswer((), _observations(answer, zones, self._signal, now))

    async def _values(self, region: str, start: datetime, end: datetime) -> Values:
        return await self._ask(
            "historical",
            region,
            {
                "start": start.isoformat(),
                "end": end.isoformat(),
                "include_imputed_marker": "true",
            },
        )

    async def _ask(self, path: str, region: str, more: Mapping[str, str | int]) -> Values:
        signal_type = SIGNAL_TYPES[self._signal]
        params: dict[str, str | int] = {"region": region, "signal_type": signal_type, **more}
        if self._model is not None:
            params["model"] = self._model.isoformat()
        answer = await self._api.get(path, params)
        meta = answer.meta
        require_same("region", region, meta.region)
        require_same("signal_type", signal_type, meta.signal_type)
        require_same("units", UNITS, meta.units)
        if self._model is not None:
            require_same("model", self._model.isoformat(), _model(answer))
        self._warnings.pop(region, None)
        if meta.warnings:
            self._warnings[region] = tuple(f"{item.type}: {item.message}" for item in meta.warnings)
        return answer

    def _methodology(self, answer: Values) -> str:
        pin = "pinned" if self._model is not None else "newest"
        return f"{API} {answer.meta.signal_type} CO2 model {_model(answer)} ({pin})"

    def _forecasts(
        self, zones: tuple[str, ...], series: Series, issued_at: datetime, methodology: str
    ) -> ProviderAnswer:
        return ProviderAnswer(
            tuple(
                Forecast(
                    zone=zone,
                    signal=self._signal,
                    provider=NAME,
                    methodology=methodology,
                    issued_at=issued_at,
                    start=series.start,
                    step_s=series.step_s,
                    values=series.values,
                )
                for zone in zones
            ),
            (),
        )


def _model(answer: Values) -> str:
    return "unnamed" if answer.meta.model is None else answer.meta.model.date


def _observations(
    answer: Values, zones: tuple[str, ...], signal: Signal, now: datetime
) -> tuple[Observation, ...]:
    step_s = float(answer.meta.data_point_period_seconds)
    return tuple(
        Observation(
            zone=zone,
            signal=signal,
            start=point.at,
            step_s=step_s,
            g_per_kwh=point.g_per_kwh,
            provider=f"{NAME} (estimated)" if point.estimated else NAME,
        )
        for point in observed(answer.points(), step_s, now)
        for zone in zones
    )
