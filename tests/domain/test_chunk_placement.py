"""Interruptible jobs, one thing at a time, and what makes one an ordinary job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.capacity import CapacityType
from domain.chunk_placement import plan_chunks
from domain.decision import DecisionInputs
from domain.forecast import Signal
from domain.job import Cell, Placement
from domain.manifest import InputData
from domain.placement import decide
from domain.policy import JobClass, Weights
from domain.prices import ComputePrice
from domain.regret import Regret
from domain.room import Reserved, RoomView, hour_of
from tests.domain.hand_made import (
    BOTH,
    FRANCE,
    GERMANY,
    HOUR,
    in_chunks,
    interruptible,
    job,
    series,
    world,
)
from tests.domain.recorded import NOW

MINUTE = timedelta(minutes=1)
AGED = {"forecast_max_age": timedelta(days=1)}
ON_DEMAND, SPOT = CapacityType.ON_DEMAND, CapacityType.SPOT


def hours_of(placement: Placement) -> list[tuple[str, float, float]]:
    """(region, first hour, hours) of each segment."""
    return [
        (item.cell.region, (item.cell.start - NOW) / HOUR, item.duration_s / 3600)
        for item in placement.segments
    ]


DAY = (300, 100, 400, 200, 100, 500, 300, 100, 900, 900, 900, 900)


def test_the_cleanest_hours_are_taken_and_told() -> None:
    """Three hours of work, three clean hours: three chunks, with their sums and a sentence."""
    inputs = interruptible(world(series("DE", *DAY)), 3 * HOUR, NOW + 12 * HOUR)
    placement = decide(inputs).placement
    assert [(GERMANY, hour, 1.0) for hour in (1, 4, 7)] == hours_of(placement)
    one_piece = decide(
        replace(inputs, manifest=job(inputs.world, 3 * HOUR, inputs.deadline).manifest)
    )
    at_once = one_piece.placement.counterfactual
    assert at_once == placement.counterfactual
    assert (
        pytest.approx(placement.estimate.average_carbon_g / at_once.estimate.average_carbon_g)
        == 3 / 8
    )
    assert one_piece.placement.estimate.energy_kwh == placement.estimate.energy_kwh
    assert one_piece.placement.estimate.cost_usd == placement.estimate.cost_usd
    assert placement.saving.promised_g == placement.saving.expected_g > 0
    assert placement.score == 0.0
    assert placement.reason.startswith(
        "3 chunks in aws:eu-central-1 on_demand from 24 Nov 03:00Z to 24 Nov 10:00Z, 62 % less"
    )


def test_overheads_are_paid_for_by_fewer_chunks() -> None:
    """With half of each further hour spent on resuming, two hours in one piece are better."""
    seen = world(series("DE", 300, 100, 120, 100, 300))
    cheap = interruptible(seen, 2 * HOUR, NOW + 5 * HOUR)
    dear = interruptible(seen, 2 * HOUR, NOW + 5 * HOUR, in_chunks(resume=HOUR / 2))
    assert hours_of(decide(cheap).placement) == [(GERMANY, 1.0, 1.0), (GERMANY, 3.0, 1.0)]
    assert hours_of(decide(dear).placement) == [(GERMANY, 1.0, 2.0)]


def test_a_checkpoint_that_is_not_portable_keeps_the_job_in_its_region() -> None:
    """Chunks change region only where the checkpoint can; one that exists binds what is left."""
    seen = world(
        series("DE", 100, 900, 900),
        series("FR", 900, 150, 900),
        regions=(GERMANY, FRANCE),
        **AGED,
    )
    portable = interruptible(seen, 2 * HOUR, NOW + 3 * HOUR, in_chunks(portable=True))
    bound = interruptible(seen, 2 * HOUR, NOW + 3 * HOUR)
    assert hours_of(decide(portable).placement) == [(GERMANY, 0.0, 1.0), (FRANCE, 1.0, 1.0)]
    assert len({region for region, *_ in hours_of(decide(bound).placement)}) == 1
    done = {"work_done": HOUR, "checkpoint_region": GERMANY, "now": NOW + HOUR}
    assert hours_of(decide(replace(portable, **done)).placement) == [(FRANCE, 1.0, 1.0)]
    assert hours_of(decide(replace(bound, **done)).placement) == [(GERMANY, 1.0, 1.0)]


def test_a_job_whose_checkpoint_is_out_of_reach_begins_anew() -> None:
    """Its region failed, and the checkpoint cannot leave it: all the work is to be done again."""
    seen = world(series("DE", *DAY), series("FR", *DAY), regions=(GERMANY, FRANCE))
    inputs = replace(
        interruptible(seen, 3 * HOUR, NOW + 12 * HOUR),
        work_done=2 * HOUR,
        checkpoint_region=GERMANY,
        excluded_regions=(GERMANY,),
    )
    assert [(FRANCE, hour, 1.0) for hour in (1, 4, 7)] == hours_of(decide(inputs).placement)


def test_what_is_left_is_planned_with_one_resume_for_the_first_chunk() -> None:
    """An hour done of three: two are left, and ten minutes at the head of each chunk."""
    cut = in_chunks(resume=10 * MINUTE)
    inputs = interruptible(world(series("DE", *DAY)), 3 * HOUR, NOW + 12 * HOUR, cut)
    left = replace(inputs, work_done=HOUR, checkpoint_region=GERMANY)
    planned = hours_of(decide(left).placement)
    assert 2 + 10 / 60 * len(planned) == pytest.approx(sum(hours for *_, hours in planned))
    assert len(planned) > 1


def test_hours_without_room_are_gone_around() -> None:
    """No three hours in a row have room: chunks do what a run in one piece cannot."""
    full = {hour_of(NOW) + hour: Reserved(100, 0) for hour in (2, 5, 8, 11)}
    room = RoomView({(GERMANY, ON_DEMAND): full})
    inputs = interruptible(world(series("DE", *[300] * 12)), 3 * HOUR, NOW + 12 * HOUR)
    placement = decide(replace(inputs, room=room)).placement
    assert hours_of(placement) == [(GERMANY, 0.0, 2.0), (GERMANY, 3.0, 1.0)]
    assert placement.fallbacks == ()


def test_spot_ends_where_all_that_is_left_still_fits_after_a_reclaim() -> None:
    """The cheap capacity type until the safety line, the other behind it."""
    seen = world(series("DE", 900, 900, 100, 900, 900, 100, 900), offer=BOTH)
    inputs = interruptible(seen, 2 * HOUR, NOW + 6 * HOUR)
    kinds = [item.cell.capacity_type for item in decide(inputs).placement.segments]
    assert kinds[-2:] == [ON_DEMAND, ON_DEMAND]
    roomy = replace(inputs, deadline=NOW + 9 * HOUR)
    cheap = replace(
        seen, policy=seen.policy.model_copy(update={"weights": Weights(carbon=0, cost=1)})
    )
    kinds = [
        item.cell.capacity_type for item in decide(replace(roomy, world=cheap)).placement.segments
    ]
    assert kinds == [SPOT]


def test_a_reclaim_costs_a_resume_and_no_rework() -> None:
    """One reclaim in ten hours, each half an hour of resuming: 5 % more time, not a rerun."""
    spot = ComputePrice(0.01, 0.0, 0.0, 0.1)
    seen = world(series("DE", *DAY), offer=BOTH, spot_price=spot, weights=Weights(carbon=0, cost=1))
    inputs = interruptible(seen, 2 * HOUR, NOW + 12 * HOUR, in_chunks(resume=HOUR / 2))
    placement = decide(inputs).placement
    assert SPOT is placement.cell.capacity_type
    assert pytest.approx(placement.estimate.cost_usd) == 4 * 0.01 * 2 * 1.05


def test_each_chunk_moves_the_inputs_anew() -> None:
    """Egress is paid for as often as the job begins."""
    seen = world(series("FR", *DAY), series("DE", *[990] * 12), regions=(FRANCE,))
    data = (InputData(uri="s3://data", region=GERMANY, gib=0.1),)
    inputs = interruptible(seen, 2 * HOUR, NOW + 12 * HOUR, inputs=data)
    placement = decide(inputs).placement
    assert len(placement.segments) == 2
    egress = 0.1 * seen.prices.egress_usd_per_gib(GERMANY, FRANCE)
    assert egress > 0
    assert 4 * 0.04 * 2 + 2 * egress == pytest.approx(placement.estimate.cost_usd)


class TestInOnePiece:
    """What makes an interruptible job an ordinary one for this decision."""

    def inputs(self, **policy) -> DecisionInputs:
        return interruptible(world(series("DE", *DAY), **policy), 3 * HOUR, NOW + 12 * HOUR)

    def is_in_one_piece(self, inputs: DecisionInputs) -> bool:
        return plan_chunks(inputs) is None and len(decide(inputs).placement.segments) == 1

    def test_otherwise_it_is_cut(self) -> None:
        """The yardstick of those below."""
        assert not self.is_in_one_piece(self.inputs())

    def test_one_that_must_start_now(self) -> None:
        """Urgent, or reclaimed and with no runway for another reclaim."""
        assert self.is_in_one_piece(replace(self.inputs(), start_now=True))
        late = replace(self.inputs(), reclaims=1, deadline=NOW + 5 * HOUR)
        assert self.is_in_one_piece(late)

    def test_one_for_which_no_plan_is_in_time(self) -> None:
        """It runs now, as any job that is late."""
        late = replace(self.inputs(), deadline=NOW + 2 * HOUR)
        assert self.is_in_one_piece(late)
        assert decide(late).placement.at_risk

    def test_one_without_a_fresh_signal(self) -> None:
        """By cost alone no hour is better than another."""
        stale = series("DE", *DAY, issued_at=NOW - timedelta(days=2))
        assert self.is_in_one_piece(interruptible(world(stale), 3 * HOUR, NOW + 12 * HOUR))

    def test_one_by_annual_means(self) -> None:
        """The static rule tells no hour from another."""
        inputs = self.inputs()
        regret = Regret(static_rule=frozenset({(Signal.AVERAGE, "eu")}))
        assert self.is_in_one_piece(replace(inputs, world=replace(inputs.world, regret=regret)))

    def test_one_whose_chunks_save_less_than_its_class_asks(self) -> None:
        """62 % is to be had: whoever asks for more runs now."""
        for percent, cut in ((62, False), (63, True)):
            classes = {"batch": JobClass(min_saving_percent=percent)}
            assert cut is self.is_in_one_piece(self.inputs(job_classes=classes))

    def test_one_whose_chunks_do_harm_on_the_other_signal(self) -> None:
        """Clean by average, dirty by marginal: not where the policy forbids that."""
        levels = [500 - level / 2 for level in DAY]
        forecasts = series("DE", *DAY), series("DE", *levels, signal=Signal.MARGINAL)
        for no_harm in (False, True):
            seen = world(*forecasts, no_harm=no_harm)
            inputs = interruptible(seen, 3 * HOUR, NOW + 12 * HOUR)
            assert no_harm is (plan_chunks(inputs) is None)

    def test_one_whose_overheads_break_its_ceiling(self) -> None:
        """Three hours are paid for, and not a minute more."""
        cut = in_chunks(resume=MINUTE)
        for most, whole in ((4 * 0.04 * 3.5, False), (4 * 0.04 * 3 + 1e-9, True)):
            inputs = interruptible(
                world(series("DE", *DAY)), 3 * HOUR, NOW + 12 * HOUR, cut, max_cost_usd=most
            )
            assert whole is self.is_in_one_piece(inputs)


def test_the_first_chunk_planned_before_is_held_unless_enough_is_gained() -> None:
    """A tenth better is not worth a new plan where a fifth is asked for."""
    seen = world(series("DE", 500, 190, 900, 150, 100))
    held = Cell(region=GERMANY, capacity_type=ON_DEMAND, start=NOW + HOUR)
    for gain, first in ((0.2, 1), (0.01, 3)):
        look = seen.policy.look_again.model_copy(update={"min_gain": gain})
        policy = seen.policy.model_copy(update={"look_again": look})
        inputs = interruptible(replace(seen, policy=policy), 2 * HOUR, NOW + 5 * HOUR)
        placement = decide(replace(inputs, incumbent=held)).placement
        assert NOW + first * HOUR == placement.cell.start


def test_moving_the_inputs_is_weighed() -> None:
    """Where each beginning costs more than the cleaner hours save, the job begins once."""
    for gib, chunks in ((0.1, 2), (100, 1)):
        seen = world(series("FR", *DAY), series("DE", *[990] * 12), regions=(FRANCE,))
        data = (InputData(uri="s3://data", region=GERMANY, gib=gib),)
        inputs = interruptible(seen, 2 * HOUR, NOW + 12 * HOUR, inputs=data)
        assert chunks == len(decide(inputs).placement.segments)


def test_room_is_kept_for_the_expected_run_alone() -> None:
    """The hour after the work's expected end is full, which only a slow run would need."""
    room = RoomView({(GERMANY, ON_DEMAND): {hour_of(NOW) + 2: Reserved(100, 0)}})
    seen = world(series("DE", 300, 100, 100, 200, 300, 300))
    for slow in (HOUR / 2, 0 * HOUR):
        inputs = interruptible(seen, HOUR, NOW + 6 * HOUR, p95_runtime=HOUR + slow)
        placement = decide(replace(inputs, room=room)).placement
        assert hours_of(placement) == [(GERMANY, 1.0, 1.0)]
