"""What schedulers of this kind got wrong in the field, this one included, each as an example."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.capacity import CapacityType
from domain.forecast import Forecast, Signal
from domain.job import Cell, Fallback, SignalBasis
from domain.placement import decide
from domain.policy import OnOneSignal, Weights
from domain.prices import ComputePrice
from domain.room import Reserved, RoomView, hour_of
from tests.domain.hand_made import (
    BOTH,
    FRANCE,
    GERMANY,
    HOUR,
    SWEDEN,
    job,
    series,
    world,
)
from tests.domain.recorded import NOW

MOVED_GIB = 100_000 * 1000**3 / 1024**3
"""What takes 1000 kWh to move."""


# ── the whole run, within the horizon, before the deadline ───────────────────────────────────


def test_a_window_is_not_rounded_up_to_the_hour() -> None:
    """A deadline at twenty past is met at twenty past, though the next hour is cleaner."""
    seen = world(series("DE", 300, 200, 100, 100))
    placement = decide(job(seen, HOUR, NOW + 2 * HOUR + timedelta(minutes=20))).placement
    assert placement.cell.start == NOW + HOUR
    assert placement.planned_end == NOW + 2 * HOUR


def test_the_end_of_a_curve_is_not_its_minimum() -> None:
    """Beyond the forecast there is nothing, which is not zero grams."""
    seen = world(series("DE", 300, 290, 280, 500))
    placement = decide(job(seen, 2 * HOUR, NOW + 24 * HOUR)).placement
    assert placement.cell.start == NOW + HOUR
    assert placement.estimate.average_carbon_g == pytest.approx(
        placement.estimate.energy_kwh * 285, rel=1e-6
    )


def test_a_low_last_slot_is_no_place_for_a_longer_run() -> None:
    """A run that would reach past the horizon is no cell."""
    seen = world(series("DE", 300, 200, 250, 250, 10))
    assert decide(job(seen, 2 * HOUR, NOW + 24 * HOUR)).placement.cell.start == NOW + 3 * HOUR
    assert decide(job(seen, 3 * HOUR, NOW + 24 * HOUR)).placement.cell.start == NOW + 2 * HOUR


def test_the_end_of_a_source_s_curve_is_no_minimum_either() -> None:
    """Moving data from a zone whose forecast has ended does not become free."""
    moved = [{"uri": "s3://data", "region": GERMANY, "gib": MOVED_GIB}]
    seen = world(series("DE", 400, 390), series("FR", *[50] * 24), regions=(FRANCE,))
    placement = decide(job(seen, HOUR, NOW + 24 * HOUR, inputs=moved)).placement
    assert placement.cell.start == NOW + HOUR
    assert placement.estimate.average_carbon_g == pytest.approx(
        placement.estimate.energy_kwh * 50 + 1000 * (390 + 50) / 2, rel=1e-6
    )


def test_a_stale_source_does_not_make_moving_data_free() -> None:
    """Where no fresh forecast tells of the source, the destination's intensity stands for it."""
    moved = [{"uri": "s3://data", "region": GERMANY, "gib": MOVED_GIB}]
    stale = series("DE", *[400] * 24, issued_at=NOW - timedelta(days=1))
    seen = world(stale, series("FR", *[50] * 24), regions=(FRANCE,))
    placement = decide(job(seen, HOUR, NOW + 24 * HOUR, inputs=moved)).placement
    assert placement.estimate.average_carbon_g == pytest.approx(
        (placement.estimate.energy_kwh + 1000) * 50, rel=1e-6
    )


def test_a_glitch_of_one_slot_is_not_chased() -> None:
    """116 between 168 and 180 (outturn 180): four hours around it are still the dirtier four."""
    seen = world(series("DE", 168, 116, 180, 180, 150, 150, 150, 150))
    placement = decide(job(seen, 4 * HOUR, NOW + 24 * HOUR)).placement
    assert placement.cell.start == NOW + 4 * HOUR


def test_the_whole_run_counts_and_not_the_point_at_its_start() -> None:
    """A clean first hour before a dirty second is no place for a job of two hours."""
    seen = world(series("DE", 250, 100, 900, 240, 260))
    assert decide(job(seen, 2 * HOUR, NOW + 24 * HOUR)).placement.cell.start == NOW
    assert decide(job(seen, HOUR, NOW + 24 * HOUR)).placement.cell.start == NOW + HOUR


def test_the_rounding_of_sums_is_no_reason_to_wait() -> None:
    """Equal values after uneven ones: what differs in the last digit of a sum is a tie."""
    uneven = tuple(200 + number * 37 % 101 / 7 for number in range(24))
    flat = series("DE", *uneven, *[123.4] * 288, step_s=300.0, start=NOW - 2 * HOUR)
    for minutes in (7, 13, 59, 95):
        inputs = job(world(flat), timedelta(minutes=minutes), NOW + 24 * HOUR)
        placement = decide(replace(inputs, now=NOW + timedelta(seconds=61))).placement
        assert placement.cell.start == NOW + timedelta(seconds=61)


def test_a_least_score_on_the_edge_of_rounding_is_still_a_choice() -> None:
    """Whichever way the last half digit of the best score is rounded, the job has its cell."""
    seen = world(
        series("DE", 200, 200),
        series("SE-SE3", 100, 100),
        series("FR", 200, 200),
        regions=(GERMANY, SWEDEN, FRANCE),
        weights=Weights(carbon=0.5, cost=0.5),
    )
    resources = {"vcpus": 1, "memory_gib": 1}
    inputs = job(seen, HOUR, NOW + HOUR, resources=resources)
    for number in range(100):
        usd = {GERMANY: 0.0, SWEDEN: (2 * number + 1) * 1e-9, FRANCE: 1.0}
        compute = {
            (region, CapacityType.ON_DEMAND): ComputePrice(price, 0.0, 0.0, 0.0)
            for region, price in usd.items()
        }
        prices = replace(seen.prices, compute=compute)
        placement = decide(replace(inputs, world=replace(seen, prices=prices))).placement
        assert (placement.cell.region, placement.fallbacks) == (SWEDEN, ())


# ── signals ──────────────────────────────────────────────────────────────────────────────────


def test_marginal_means_marginal() -> None:
    """A policy that steers by marginal never gets average in its place, unseen."""
    average = (series("DE", *[371] * 4), series("SE-SE3", *[25] * 4))
    marginal = tuple(
        series(zone, *[value] * 4, signal=Signal.MARGINAL)
        for zone, value in (("DE", 731), ("SE-SE3", 791))
    )
    policy = {"regions": (GERMANY, SWEDEN), "steering_signal": Signal.MARGINAL}
    both = decide(job(world(*average, *marginal, **policy), HOUR, NOW + 4 * HOUR)).placement
    assert (both.basis, both.cell.region) == (SignalBasis.MARGINAL, GERMANY)
    lost = decide(job(world(*average, **policy), HOUR, NOW + 4 * HOUR)).placement
    assert (lost.basis, lost.cell.region) == (SignalBasis.AVERAGE, SWEDEN)
    assert lost.estimate.marginal_carbon_g is None


def test_signals_are_not_mixed_where_one_region_lacks_the_steering_one() -> None:
    """Germany by marginal is never held against Sweden by average."""
    seen = world(
        series("DE", *[371] * 4),
        series("SE-SE3", *[25] * 4),
        series("DE", *[731] * 4, signal=Signal.MARGINAL),
        regions=(GERMANY, SWEDEN),
        steering_signal=Signal.MARGINAL,
        min_fresh_regions=2,
    )
    placement = decide(job(seen, HOUR, NOW + 4 * HOUR)).placement
    assert (placement.basis, placement.cell.region) == (SignalBasis.AVERAGE, SWEDEN)


@pytest.mark.parametrize(
    "forecasts",
    [
        (),
        (series("DE", 100, 100, issued_at=NOW - timedelta(days=1)),),
        (series("DE", 100, 100, start=NOW - 2 * HOUR),),
        (series("DE", 100, 100, start=NOW + HOUR),),
    ],
    ids=["no provider", "stale", "ended", "not begun"],
)
def test_no_signal_blocks_no_job(forecasts: tuple[Forecast, ...]) -> None:
    """Without a trustworthy signal the job goes by cost alone, says so, and is no fallback."""
    placement = decide(job(world(*forecasts), HOUR, NOW + 24 * HOUR)).placement
    assert placement.basis is SignalBasis.COST_ONLY
    assert placement.cell.start == NOW
    assert placement.fallbacks == ()
    assert "no fresh signal" in placement.reason


def test_regions_with_one_signal_are_left_out_or_move_the_decision() -> None:
    """As policy says: never some cells by one signal and some by the other; both are told."""
    marginal = [series(zone, 700, 600, signal=Signal.MARGINAL) for zone in ("DE", "FR")]
    average = [series(zone, *values) for zone, values in AVERAGES.items()]
    fields = {"regions": (GERMANY, SWEDEN, FRANCE), "steering_signal": Signal.MARGINAL}
    seen = world(*marginal, *average, **fields)
    placement = decide(job(seen, HOUR, NOW + 4 * HOUR)).placement
    assert placement.basis is SignalBasis.MARGINAL
    assert placement.regions_without_signal == (SWEDEN,)
    assert "1 region left out without a fresh signal" in placement.reason
    seen = world(*marginal, *average, **fields, regions_with_one_signal=OnOneSignal.OTHER_SIGNAL)
    placement = decide(job(seen, HOUR, NOW + 4 * HOUR)).placement
    assert (placement.basis, placement.cell.region) == (SignalBasis.AVERAGE, SWEDEN)
    assert placement.regions_without_signal == ()
    assert "by average: marginal is fresh in too few regions" in placement.reason


AVERAGES = {"DE": (300, 300), "FR": (90, 90), "SE-SE3": (20, 20)}


def test_who_made_the_forecast_is_told() -> None:
    """A line that went by a stand-in says so."""
    seen = world(series("DE", 300, 100, provider="persistence"))
    assert decide(job(seen, HOUR, NOW + 4 * HOUR)).placement.signal_provider == "persistence"


def test_a_provider_may_have_a_limit_of_its_own() -> None:
    """One that issues hourly would be stale for half of each hour by the limit of the others."""
    limits = {"forecast_max_age_of": {"hourly": timedelta(minutes=90)}}
    fields = {"issued_at": NOW - HOUR, "provider": "hourly"}
    seen = world(series("DE", 300, 100, **fields), **limits)
    assert decide(job(seen, HOUR, NOW + 4 * HOUR)).placement.basis is SignalBasis.AVERAGE
    seen = world(series("DE", 300, 100, issued_at=NOW - HOUR), **limits)
    assert decide(job(seen, HOUR, NOW + 4 * HOUR)).placement.basis is SignalBasis.COST_ONLY


# ── what it is held against ──────────────────────────────────────────────────────────────────


def test_the_counterfactual_stands_where_the_job_was_submitted() -> None:
    """It is fixed by the first decision and passed on, so that no saving comes of moving it."""
    seen = world(series("DE", 300, 200, 100, 400, 400))
    inputs = replace(job(seen, HOUR, NOW + 5 * HOUR), submitted_at=NOW - 3 * HOUR)
    first = decide(inputs).placement
    assert first.counterfactual.cell.start == NOW - 3 * HOUR
    assert first.counterfactual.estimate.average_carbon_g == pytest.approx(
        first.estimate.energy_kwh * 300, rel=1e-6
    )
    later = replace(
        inputs,
        world=world(series("DE", 9, 9, 9, 9, 9)),
        now=NOW + HOUR,
        incumbent=first.cell,
        counterfactual=first.counterfactual,
    )
    assert decide(later).placement.counterfactual == first.counterfactual


def test_a_saving_below_zero_is_told_as_more() -> None:
    """Where home would have been cleaner, the figure is as it is: no clipping, no other instant."""
    seen = world(series("DE", *[100] * 4), series("FR", *[50] * 4))
    placement = decide(job(seen, HOUR, NOW + 4 * HOUR, home_region=FRANCE)).placement
    assert placement.estimate.average_carbon_g == pytest.approx(
        2 * placement.counterfactual.estimate.average_carbon_g
    )
    assert "100 % more average carbon than aws:eu-west-3 at submission" in placement.reason


def test_a_small_gain_is_not_worth_a_move() -> None:
    """A minimum benefit below which a plan stays as it is."""
    held = Cell(region=GERMANY, capacity_type=CapacityType.ON_DEMAND, start=NOW + HOUR)
    seen = world(series("DE", 300, 101, 100, 300))
    inputs = replace(job(seen, HOUR, NOW + 4 * HOUR), incumbent=held)
    assert decide(inputs).placement.cell == held
    better = world(series("DE", 300, 120, 100, 300))
    assert decide(replace(inputs, world=better)).placement.cell.start == NOW + 2 * HOUR


# ── walls, to the microsecond ────────────────────────────────────────────────────────────────


def test_an_hour_that_ends_at_the_start_is_not_touched() -> None:
    """A full hour before the cell's first instant does not cut it, microseconds or not."""
    inputs = job(world(series("DE", 300, 100, 300, 300)), HOUR, NOW + 4 * HOUR)
    full = {hour_of(NOW): Reserved(100.0, 0), hour_of(NOW + 2 * HOUR): Reserved(100.0, 0)}
    room = RoomView({(GERMANY, CapacityType.ON_DEMAND): full})
    for microseconds in (0, 1, 3, 7, 238_860, 999_999):
        now = NOW + timedelta(minutes=17, microseconds=microseconds)
        placement = decide(replace(inputs, now=now, room=room)).placement
        assert (placement.cell.start, placement.fallbacks) == (NOW + HOUR, ())


def test_a_run_one_microsecond_into_a_full_hour_is_cut() -> None:
    """It holds room in that hour, so it waits until there is some."""
    inputs = job(world(series("DE", 300, 100, 300, 400)), HOUR, NOW + 24 * HOUR)
    longer = inputs.manifest.model_copy(update={"runtime": HOUR + timedelta(microseconds=1)})
    full = {hour_of(NOW + 2 * HOUR): Reserved(100.0, 0)}
    room = RoomView({(GERMANY, CapacityType.ON_DEMAND): full})
    assert decide(replace(inputs, room=room)).placement.cell.start == NOW + HOUR
    cut = decide(replace(inputs, room=room, manifest=longer)).placement
    assert cut.cell.start == NOW


def test_a_spot_cell_leaves_time_for_one_reclaim() -> None:
    """A reclaim at the very end of a p95 run still leaves time for the on-demand run."""
    seen = world(
        series("DE", *[100] * 12),
        offer=BOTH,
        start_up=timedelta(minutes=5),
        safety_margin=timedelta(minutes=45),
    )
    twice = timedelta(minutes=45) + 2 * (timedelta(minutes=5) + HOUR)
    just = replace(job(seen, HOUR, NOW + twice), start_now=True)
    assert decide(just).placement.cell.capacity_type is CapacityType.SPOT
    late = replace(just, now=NOW + timedelta(microseconds=1))
    assert decide(late).placement.cell.capacity_type is CapacityType.ON_DEMAND


def test_a_run_that_would_surely_be_reclaimed_still_gets_a_decision() -> None:
    """An expected rework beyond what a float holds is dear, not an error."""
    hopeless = ComputePrice(0.001, 0.0, 0.0, 5000.0)
    seen = world(series("DE", 100, 100), offer=BOTH, spot_price=hopeless)
    placement = decide(job(seen, HOUR, NOW + 24 * HOUR)).placement
    assert placement.cell.capacity_type is CapacityType.ON_DEMAND


def test_what_cannot_be_met_is_run_at_once_and_told() -> None:
    """A deadline out of reach is at risk, never a reason to drop the job."""
    seen = world(series("DE", 100, 100))
    placement = decide(job(seen, HOUR, NOW + timedelta(minutes=30))).placement
    assert placement.at_risk
    assert placement.cell.start == NOW
    assert placement.fallbacks == (Fallback.RUN_NOW,)
