"""Properties of the decision, over generated jobs, worlds, rooms and policies."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.cells import Wall
from domain.decision import DecisionInputs
from domain.errors import NoLegalRegion
from domain.forecast import Signal
from domain.job import Cell, Fallback, Placement, SignalBasis
from domain.placement import Decision, decide
from domain.room import RoomView
from tests.domain import brute_force as brute
from tests.domain.brute_force import BruteDecision, brute_force
from tests.domain.generated import decisions

decidable = decisions().filter(brute.legal_and_able)


def chosen(placement: Placement):
    cell = placement.cell
    return cell.region, cell.capacity_type, cell.start


def on_rounding_edge(score: float) -> bool:
    """Whether the order of two sums may decide how a score is rounded."""
    return abs(score * 1e9 % 1 - 0.5) < 1e-3


def compared(inputs: DecisionInputs) -> tuple[Decision, BruteDecision]:
    expected = brute_force(inputs)
    assume(not any(on_rounding_edge(cell.score) for cell in expected.feasible))
    return decide(inputs), expected


@settings(max_examples=150)
@given(decidable)
def test_agrees_with_a_loop_over_every_cell(inputs: DecisionInputs) -> None:
    """Cell, score, signal, fallbacks and the number of cells are those that plain loops find."""
    decision, expected = compared(inputs)
    placement = decision.placement
    event(f"{placement.basis.value}, {len(placement.fallbacks)} fallbacks")
    assert chosen(placement) == expected.chosen
    assert placement.score == expected.score
    assert placement.basis is expected.basis
    assert placement.fallbacks == expected.fallbacks
    assert decision.considered == expected.considered
    assert decision.feasible == len(expected.feasible)


@given(decidable)
def test_estimates_agree_with_a_walk_through_the_forecast(inputs: DecisionInputs) -> None:
    """Grams by each signal, dollars and energy, of the cell and of the counterfactual."""
    placement = decide(replace(inputs, counterfactual=None)).placement
    home = placement.counterfactual
    assert chosen_home(inputs, placement) == (
        home.cell.region,
        home.cell.capacity_type,
        home.cell.start,
    )
    for cell, estimate in ((placement.cell, placement.estimate), (home.cell, home.estimate)):
        place = cell.region, cell.capacity_type
        assert estimate.cost_usd == pytest.approx(brute.dollars(inputs, place), abs=1e-6)
        assert estimate.energy_kwh == pytest.approx(brute.energy(inputs, place), abs=1e-6)
        for signal, told_g in (
            (Signal.AVERAGE, estimate.average_carbon_g),
            (Signal.MARGINAL, estimate.marginal_carbon_g),
        ):
            if brute.foreseen(inputs, signal, place, cell.start):
                grams = brute.grams(inputs, signal, place, cell.start)
                assert told_g == pytest.approx(grams, rel=1e-9, abs=1e-6)
            else:
                assert told_g is None


def chosen_home(inputs: DecisionInputs, placement: Placement):
    return inputs.manifest.home_region, placement.cell.capacity_type, inputs.now


@given(decisions())
def test_never_an_illegal_or_unable_region(inputs: DecisionInputs) -> None:
    """A cell that residency and ability allow, or a refusal where there is none."""
    places = brute.legal_and_able(inputs)
    if not places:
        with pytest.raises(NoLegalRegion):
            decide(inputs)
        return
    region, capacity_type, _ = chosen(decide(inputs).placement)
    assert (region, capacity_type) in places


@given(decidable)
def test_excluded_regions_are_used_only_when_nothing_else_is_legal(inputs: DecisionInputs) -> None:
    """A region that failed the job is no candidate while another is legal and able."""
    others = brute.legal_and_able(replace(inputs, excluded_regions=()))
    region, _, _ = chosen(decide(inputs).placement)
    if {place for place, _ in others} - set(inputs.excluded_regions):
        assert region not in inputs.excluded_regions


@given(decidable)
def test_a_feasible_choice_crosses_no_wall(inputs: DecisionInputs) -> None:
    """In time even if a Spot run is reclaimed at its very end, within ceilings, room, horizon."""
    placement = decide(inputs).placement
    assume(not placement.fallbacks)
    region, capacity_type, start = chosen(placement)
    place, policy = (region, capacity_type), inputs.world.policy
    worst_case = policy.start_up + inputs.manifest.p95_runtime
    runs = 2 if capacity_type is CapacityType.SPOT else 1
    assert inputs.now <= start
    assert start + runs * worst_case + policy.safety_margin <= inputs.deadline
    assert not placement.at_risk
    assert brute.affordable(inputs, place)
    assert brute.room_left(inputs, place, start)
    if placement.basis is not SignalBasis.COST_ONLY:
        assert brute.foreseen(inputs, Signal(placement.basis.value), place, start)
        assert placement.estimate.carbon_g(placement.basis) is not None


@given(decidable)
def test_the_fallback_drops_walls_in_the_fixed_order(inputs: DecisionInputs) -> None:
    """Now, on capacity that is safe; the cost ceiling goes first, room only after it."""
    placement = decide(inputs).placement
    assume(placement.fallbacks)
    places = brute.legal_and_able(inputs)
    if inputs.now > brute.last_start(inputs, CapacityType.SPOT):
        on_demand = [place for place in places if place[1] is CapacityType.ON_DEMAND]
        places = on_demand or places
    roomy = [place for place in places if brute.room_left(inputs, place, inputs.now)]
    cheap = [place for place in roomy if brute.affordable(inputs, place)]
    left, dropped = (
        (cheap, (Fallback.RUN_NOW,))
        if cheap
        else (roomy, (Fallback.RUN_NOW, Fallback.OVER_COST))
        if roomy
        else (places, (Fallback.RUN_NOW, Fallback.OVER_COST, Fallback.OVER_ROOM))
    )
    region, capacity_type, start = chosen(placement)
    assert placement.fallbacks == dropped
    assert start == inputs.now
    assert placement.score is None
    assert (region, capacity_type) in left
    assert placement.estimate.cost_usd == pytest.approx(
        min(brute.dollars(inputs, place) for place in left), abs=1e-8
    )
    assert placement.at_risk == (inputs.now + inputs.worst_case > inputs.deadline)


@given(decidable, st.randoms(use_true_random=False))
def test_the_same_inputs_give_the_same_placement(
    inputs: DecisionInputs, order: random.Random
) -> None:
    """Whatever order forecasts, regions, prices, rooms and residency lists come in."""
    again = decide(shuffled(inputs, order)).placement
    assert again == decide(inputs).placement


def shuffled(inputs: DecisionInputs, order: random.Random) -> DecisionInputs:
    """The same inputs, with another order of everything that has none."""

    def mixed(items):
        return order.sample(list(items), len(items))

    world, policy, room = inputs.world, inputs.world.policy, inputs.room
    return replace(
        inputs,
        world=replace(
            world,
            forecasts=tuple(mixed(world.forecasts)),
            policy=policy.model_copy(update={"regions": dict(mixed(policy.regions.items()))}),
            prices=replace(world.prices, compute=dict(mixed(world.prices.compute.items()))),
            catalogue=replace(
                world.catalogue, regions=dict(mixed(world.catalogue.regions.items()))
            ),
        ),
        room=RoomView(
            {key: dict(mixed(held.items())) for key, held in mixed(room.reserved.items())}
        ),
        excluded_regions=tuple(mixed(inputs.excluded_regions)),
    )


@given(decidable)
def test_no_feasible_cell_has_a_better_score(inputs: DecisionInputs) -> None:
    """Without an incumbent, the chosen cell's score is the least, in the engine's own eyes too."""
    decision, expected = compared(replace(inputs, incumbent=None))
    assume(expected.feasible)
    score = decision.placement.score
    assert score == min(round(cell.score, 9) for cell in expected.feasible)
    assert score == min(item.score for item in decision.options if item.score is not None)


@given(decidable)
def test_ties_go_to_the_earlier_the_cheaper_the_first_by_name(inputs: DecisionInputs) -> None:
    """Among cells of the least score."""
    decision, expected = compared(replace(inputs, incumbent=None))
    assume(expected.feasible)
    tied = [cell for cell in expected.feasible if round(cell.score, 9) == decision.placement.score]
    event(f"{min(len(tied), 5)} or more tied")
    first = [cell for cell in tied if cell.start == min(cell.start for cell in tied)]
    cost = min(round(cell.cost_usd, 9) for cell in first)
    cheapest = [cell for cell in first if round(cell.cost_usd, 9) == cost]
    assert chosen(decision.placement) == min(
        (cell.where for cell in cheapest), key=lambda where: (where[0], where[1].value)
    )


@given(decidable, st.data())
def test_an_incumbent_is_kept_unless_beaten_by_the_margin(
    inputs: DecisionInputs, data: st.DataObject
) -> None:
    """Plans do not flap for a gain below ``min_gain``."""
    free = brute_force(replace(inputs, incumbent=None))
    assume(free.feasible)
    held = data.draw(st.sampled_from(free.feasible))
    incumbent = Cell(region=held.region, capacity_type=held.capacity_type, start=held.start)
    decision, expected = compared(replace(inputs, incumbent=incumbent))
    cells = {cell.where: cell for cell in expected.feasible}
    gain = round(cells[held.where].score, 9) - round(expected.best.score, 9)
    beaten = round(gain, 9) >= inputs.world.policy.look_again.min_gain
    event("beaten" if beaten else "kept")
    assert chosen(decision.placement) == (expected.best.where if beaten else held.where)


@given(decidable, st.floats(0, 1000))
def test_one_decision_compares_one_signal_only(inputs: DecisionInputs, other_g: float) -> None:
    """What the other signal says changes nothing of the choice, only what is recorded of it."""
    decision = decide(inputs)
    basis = decision.placement.basis
    changed = tuple(
        item
        if item.signal.value == basis.value
        else replace(item, values=tuple(other_g for _ in item.values))
        for item in inputs.world.forecasts
    )
    again = decide(replace(inputs, world=replace(inputs.world, forecasts=changed)))
    assert again.placement.basis is basis
    assert chosen(again.placement) == chosen(decision.placement)
    assert again.placement.score == decision.placement.score
    assert again.options == decision.options


@given(decidable)
def test_too_few_fresh_regions_move_the_whole_decision(inputs: DecisionInputs) -> None:
    """The steering signal needs ``min_fresh_regions``, or all that are legal; else the other."""
    policy = inputs.world.policy
    regions = {region for region, _ in brute.legal_and_able(inputs)}
    fresh = {
        signal: {
            region
            for region in regions
            if brute.trusted(inputs, signal, brute.zone_of(inputs, region, signal))
        }
        for signal in Signal
    }
    wanted = min(policy.min_fresh_regions, len(regions))
    decision = decide(inputs)
    own, other = policy.steering_signal, policy.steering_signal.other
    other_has_more = len(fresh[other]) > len(fresh[own])
    if len(fresh[own]) < wanted:
        moved = policy.on_signal_loss.value == "other_signal" and len(fresh[other]) >= wanted
        compared = other if moved else None
    elif policy.regions_with_one_signal.value == "other_signal" and other_has_more:
        compared = other
    else:
        compared = own
    expected = SignalBasis.of(compared) if compared else SignalBasis.COST_ONLY
    left_out = sorted(regions - fresh[compared]) if compared else []
    assert list(decision.placement.regions_without_signal) == left_out
    event(expected.value)
    assert decision.placement.basis is expected
    with_carbon = {item.carbon_g is not None for item in decision.options if item.start}
    assert with_carbon <= {expected is not SignalBasis.COST_ONLY}


@given(decidable)
def test_cuts_and_options_account_for_every_cell(inputs: DecisionInputs) -> None:
    """All cells are feasible or cut by one wall; each place tells its best cell or its wall."""
    decision, expected = compared(inputs)
    assert tuple(decision.cuts) == tuple(Wall)
    assert decision.considered == decision.feasible + sum(decision.cuts.values())
    assert min(decision.cuts.values()) >= 0
    places = sorted((item.region, item.capacity_type) for item in decision.options)
    assert places == sorted(brute.legal_and_able(inputs))
    for option in decision.options:
        own = [
            cell
            for cell in expected.feasible
            if (cell.region, cell.capacity_type) == (option.region, option.capacity_type)
        ]
        if own:
            best = min(own, key=lambda cell: (round(cell.score, 9), cell.start))
            assert (option.start, option.score) == (best.start, round(best.score, 9))
            assert option.cost_usd == pytest.approx(best.cost_usd, abs=1e-9)
            assert option.cut_by is None
        else:
            assert (option.start, option.score, option.carbon_g) == (None, None, None)
            assert option.cut_by is last_cut(inputs, expected, option)


def last_cut(inputs: DecisionInputs, expected: BruteDecision, option) -> Wall:
    """The first wall, in order, that leaves a place nothing."""
    signal = None if expected.basis is SignalBasis.COST_ONLY else Signal(expected.basis.value)
    place = option.region, option.capacity_type
    zone = signal and brute.zone_of(inputs, option.region, signal)
    walls = {
        Wall.STALE: lambda _: signal is None or brute.trusted(inputs, signal, zone) is not None,
        Wall.HORIZON: lambda start: signal is None or brute.foreseen(inputs, signal, place, start),
        Wall.DEADLINE: lambda start: start <= brute.last_start(inputs, option.capacity_type),
        Wall.COST: lambda _: brute.affordable(inputs, place),
        Wall.ROOM: lambda start: brute.room_left(inputs, place, start),
    }
    left = brute.starts_of(inputs, signal)
    for wall, within in walls.items():
        left = [start for start in left if within(start)]
        if not left:
            return wall
    raise AssertionError("a place with a feasible cell was cut by none")


@given(decidable, st.integers(1, 5))
def test_scores_do_not_depend_on_the_unit(inputs: DecisionInputs, power: int) -> None:
    """Twice the carbon everywhere is the same decision: scaling is over the feasible set."""
    doubled = tuple(
        replace(item, values=tuple(value * 2**power for value in item.values))
        for item in inputs.world.forecasts
    )
    decision = decide(inputs)
    again = decide(replace(inputs, world=replace(inputs.world, forecasts=doubled)))
    assert chosen(again.placement) == chosen(decision.placement)
    assert again.placement.score == decision.placement.score


@given(decidable)
def test_flat_carbon_and_equal_prices_start_at_once(inputs: DecisionInputs) -> None:
    """A range of zero scales to zero, so that nothing outweighs the earliest start."""
    flat = tuple(
        replace(item, values=tuple(123.4 for _ in item.values)) for item in inputs.world.forecasts
    )
    catalogue = inputs.world.catalogue
    level = replace(
        catalogue,
        regions={name: replace(item, pue=1.1) for name, item in catalogue.regions.items()},
    )
    price = next(iter(inputs.world.prices.compute.values()))
    prices = replace(
        inputs.world.prices,
        compute=dict.fromkeys(inputs.world.prices.compute, replace(price, reclaims_per_hour=0.0)),
    )
    world = replace(inputs.world, forecasts=flat, catalogue=level, prices=prices)
    manifest = inputs.manifest.model_copy(update={"inputs": ()})
    inputs = replace(inputs, world=world, manifest=manifest, incumbent=None)
    decision, expected = decide(inputs), brute_force(inputs)
    assume(expected.feasible)
    assert decision.placement.score == 0
    assert decision.placement.cell.start == min(cell.start for cell in expected.feasible)


@given(decidable, st.integers(1, 48))
def test_a_later_deadline_is_never_worse(inputs: DecisionInputs, more: int) -> None:
    """What was feasible stays so: a fallback can only go, never come."""
    later = replace(inputs, deadline=inputs.deadline + timedelta(hours=more))
    if not decide(inputs).placement.fallbacks:
        assert not decide(later).placement.fallbacks
