from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.forecast import Forecast, Signal

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)

FORECAST = Forecast(
    zone="SE-SE3",
    signal=Signal.AVERAGE,
    provider="trace",
    methodology="persistence/1",
    issued_at=NOW + timedelta(seconds=7.25),
    start=NOW,
    step_s=300.0,
    values=(25.0, 24.125, 1 / 3),
)


def test_the_horizon_is_the_end_of_the_last_step() -> None:
    """Three steps of five minutes."""
    assert FORECAST.end == NOW + timedelta(minutes=15)


def test_each_signal_has_the_other() -> None:
    """To which a decision moves when its own is lost."""
    assert [signal.other.other for signal in Signal] == list(Signal)
    assert Signal.AVERAGE.other is Signal.MARGINAL


def test_the_hash_of_a_forecast_never_changes() -> None:
    """Ledger lines name forecasts by it."""
    assert FORECAST.sha256 == "dcef75d7452dec5211ec661236e96919245d139bfcf8073ed3003ec2fbd94b47"


@given(st.lists(st.floats(0, 5000, allow_nan=False), min_size=1, max_size=50), st.floats(0.1, 3600))
def test_a_forecast_is_its_plain_data(values: list[float], step_s: float) -> None:
    """To the last bit, so that a decision made again is the same decision."""
    forecast = Forecast(
        "DE", Signal.MARGINAL, "p", "m", NOW, NOW + timedelta(microseconds=1), step_s, tuple(values)
    )
    assert Forecast.from_json(forecast.as_json()) == forecast
