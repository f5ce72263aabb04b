"""What every ``SignalStore`` does. An adapter's tests subclass this with a fixture ``store``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.forecast import Forecast, Observation, Signal
from domain.ports import SignalStore

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

FORECAST = Forecast(
    zone="SE-SE3",
    signal=Signal.AVERAGE,
    provider="trace",
    methodology="persistence/1",
    issued_at=NOW,
    start=NOW,
    step_s=3600.0,
    values=(25.0, 24.125, 1 / 3),
)


def observed(
    start: datetime, g_per_kwh: float = 25.0, step_s: float = 3600.0, zone: str = "SE-SE3"
) -> Observation:
    return Observation(zone, Signal.AVERAGE, start, step_s, g_per_kwh, "trace")


class SignalStoreContract:
    def test_a_forecast_is_read_back_as_it_was_put(self, store: SignalStore) -> None:
        """Every figure and instant to the last bit, also with steps of a compressed trace."""
        compressed = replace(
            FORECAST,
            zone="DE",
            step_s=0.1,
            start=NOW + timedelta(microseconds=1),
            issued_at=NOW + timedelta(microseconds=7),
        )
        store.put_forecasts([FORECAST, compressed])
        assert (compressed, FORECAST) == store.forecasts()

    def test_of_one_provider_the_newest_is_kept(self, store: SignalStore) -> None:
        """One issued later replaces, one issued earlier does not, in whatever order they come."""
        newer = replace(FORECAST, issued_at=NOW + HOUR, values=(1.0,))
        older = replace(FORECAST, issued_at=NOW - HOUR, values=(2.0,))
        marginal = replace(FORECAST, signal=Signal.MARGINAL)
        store.put_forecasts([newer, FORECAST, marginal])
        store.put_forecasts([older])
        assert (newer, marginal) == store.forecasts()

    def test_a_recovered_primary_replaces_its_stand_in(self, store: SignalStore) -> None:
        """Whenever either was issued: a refresh brings the best that could be had."""
        stand_in = replace(FORECAST, provider="persistence", issued_at=NOW + HOUR, values=(1.0,))
        later = replace(FORECAST, issued_at=NOW + 2 * HOUR)
        for brought in (FORECAST, stand_in, FORECAST, later, stand_in):
            before = store.revision()
            store.put_forecasts([brought])
            assert (brought,) == store.forecasts()
            assert before != store.revision()

    @pytest.mark.parametrize(
        ("brought", "kept"),
        [
            ([("a", 2), ("a", 1)], ("a", 2)),
            ([("a", 2), ("b", 1)], ("b", 1)),
            ([("b", 1), ("a", 2)], ("a", 2)),
            ([("a", 2), ("b", 3), ("a", 1)], ("a", 1)),
        ],
    )
    def test_of_one_call_that_is_kept_which_would_be_left_one_by_one(
        self, store: SignalStore, brought: list[tuple[str, int]], kept: tuple[str, int]
    ) -> None:
        """Also where two providers answer for one zone; the whole call again changes nothing."""
        forecasts = [
            replace(FORECAST, provider=provider, issued_at=NOW + hours * HOUR, values=(hours,))
            for provider, hours in brought
        ]
        store.put_forecasts(forecasts)
        [held] = store.forecasts()
        assert (held.provider, held.issued_at) == (kept[0], NOW + kept[1] * HOUR)
        revision = store.revision()
        store.put_forecasts(forecasts)
        assert ((held,), revision) == (store.forecasts(), store.revision())

    def test_forecasts_are_ordered_by_zone_and_signal(self, store: SignalStore) -> None:
        """So that the same forecasts make the same decision record."""
        keys = [(zone, signal) for zone in ("FR", "DE", "SE-SE3") for signal in Signal]
        store.put_forecasts([replace(FORECAST, zone=z, signal=s) for z, s in reversed(keys)])
        assert sorted(keys) == [(item.zone, item.signal) for item in store.forecasts()]

    def test_the_revision_changes_with_forecasts_and_only_then(self, store: SignalStore) -> None:
        """What a decision derives from forecasts may be kept while the revision stands."""
        empty = store.revision()
        store.put_forecasts([FORECAST])
        first = store.revision()
        assert empty != first
        store.put_forecasts([FORECAST])
        store.put_forecasts([replace(FORECAST, issued_at=NOW - HOUR)])
        store.put_forecasts([])
        store.put_observations([observed(NOW)])
        assert first == store.revision()
        store.put_forecasts([replace(FORECAST, issued_at=NOW + HOUR)])
        assert store.revision() not in {empty, first}

    def test_an_empty_store_has_no_signals(self, store: SignalStore) -> None:
        """Nothing was put, nothing is there."""
        assert store.forecasts() == ()
        assert store.observations("SE-SE3", Signal.AVERAGE, NOW, NOW + HOUR) == ()

    def test_observations_that_overlap_are_found_in_order(self, store: SignalStore) -> None:
        """A step that only begins or ends within the time asked for counts; one beside does not."""
        hours = [observed(NOW + n * HOUR, float(n)) for n in range(6)]
        store.put_observations(list(reversed(hours)))
        half = HOUR / 2
        found = store.observations("SE-SE3", Signal.AVERAGE, NOW + HOUR + half, NOW + 3 * HOUR)
        assert (hours[1], hours[2]) == found
        found = store.observations("SE-SE3", Signal.AVERAGE, NOW + HOUR, NOW + 3 * HOUR + half)
        assert (hours[1], hours[2], hours[3]) == found

    def test_a_long_step_is_found_from_far_within(self, store: SignalStore) -> None:
        """Steps of different length live together: a day's figure beside a quarter hour's."""
        day = observed(NOW, 30.0, step_s=86400.0)
        quarter = observed(NOW + 10 * HOUR, 20.0, step_s=900.0)
        store.put_observations([day, quarter])
        found = store.observations("SE-SE3", Signal.AVERAGE, NOW + 10 * HOUR, NOW + 11 * HOUR)
        assert (day, quarter) == found
        found = store.observations("SE-SE3", Signal.AVERAGE, NOW + 20 * HOUR, NOW + 21 * HOUR)
        assert (day,) == found

    def test_the_same_step_again_replaces(self, store: SignalStore) -> None:
        """A figure that its publisher corrected stands corrected."""
        store.put_observations([observed(NOW, 25.0)])
        store.put_observations([observed(NOW, 26.0)])
        found = store.observations("SE-SE3", Signal.AVERAGE, NOW, NOW + HOUR)
        assert (observed(NOW, 26.0),) == found

    @pytest.mark.parametrize(("zone", "signal"), [("DE", "average"), ("SE-SE3", "marginal")])
    def test_zones_and_signals_are_apart(self, store: SignalStore, zone: str, signal: str) -> None:
        """An observation answers for its own zone and signal only."""
        store.put_observations([observed(NOW)])
        assert store.observations(zone, Signal(signal), NOW, NOW + HOUR) == ()
