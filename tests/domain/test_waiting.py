"""A wait or a move must pay: least savings, no harm, regret, and the rule of annual means."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cells import Wall
from domain.decision import DecisionInputs, World
from domain.forecast import Signal
from domain.job import Placement
from domain.placement import decide
from domain.policy import JobClass
from domain.regret import Regret
from domain.room import Reserved, RoomView, hour_of
from tests.domain.hand_made import FRANCE, GERMANY, HOUR, SWEDEN, job, series, world
from tests.domain.recorded import NOW

DAY = timedelta(hours=24)


def placed(seen: World, **fields: object) -> Placement:
    return decide(job(seen, HOUR, NOW + DAY, **fields)).placement


def classes(**wanted: float) -> dict[str, JobClass]:
    return {"picky": JobClass(**wanted)}


def region_with_annual(seen: World, **means: float) -> World:
    """Regions by country code, each with its annual mean of average carbon."""
    ids = {"DE": GERMANY, "SE": SWEDEN, "FR": FRANCE}
    regions = dict(seen.catalogue.regions)
    for country, mean in means.items():
        name = ids[country]
        regions[name] = replace(regions[name], average_annual_g_per_kwh=mean)
    return replace(seen, catalogue=replace(seen.catalogue, regions=regions))


class TestLeastSaving:
    @pytest.mark.parametrize(("percent", "hours"), [(0.0, 2), (32.9, 2), (33.4, 0), (100.0, 0)])
    def test_a_wait_that_saves_less_than_its_class_asks_is_not_made(
        self, percent: float, hours: int
    ) -> None:
        """A third is to be had two hours later: whoever asks for more runs now."""
        seen = world(
            series("DE", 300, 290, 200, 310), job_classes=classes(min_saving_percent=percent)
        )
        assert placed(seen, job_class="picky").cell.start == NOW + hours * HOUR

    def test_grams_are_asked_for_likewise_and_other_classes_are_not_asked(self) -> None:
        """Both conditions hold by themselves; a class that is not named takes any saving."""
        plain = world(series("DE", 300, 290, 200, 310))
        saved_g = placed(plain).saving.promised_g
        for least_g, hours in ((saved_g * 0.99, 2), (saved_g * 1.01, 0)):
            seen = world(
                series("DE", 300, 290, 200, 310), job_classes=classes(min_saving_g=least_g)
            )
            assert placed(seen, job_class="picky").cell.start == NOW + hours * HOUR
            assert placed(seen).cell.start == NOW + 2 * HOUR

    def test_a_move_must_pay_too_and_home_is_where_it_stays(self) -> None:
        """Ten per cent are to be had abroad: not enough, so it runs now, and at home."""
        grids = (series("DE", *[300] * 24), series("FR", *[270] * 24))
        for percent, region in ((9, FRANCE), (11, GERMANY)):
            seen = world(
                *grids, regions=(GERMANY, FRANCE), job_classes=classes(min_saving_percent=percent)
            )
            assert placed(seen, job_class="picky").cell.region == region

    def test_where_home_has_no_room_it_runs_now_where_that_is_best(self) -> None:
        """The class asks for a saving, not for a place."""
        seen = world(
            series("DE", *[300] * 24),
            series("FR", 290, 280, *[290] * 22),
            regions=(GERMANY, FRANCE),
            job_classes=classes(min_saving_percent=50),
        )
        inputs = job(seen, HOUR, NOW + DAY, job_class="picky")
        held = {hour_of(NOW) + hour: Reserved(100.0, 0) for hour in range(30)}
        full = replace(inputs, room=RoomView({(GERMANY, "on_demand"): held}))
        placement = decide(full).placement
        assert (placement.cell.region, placement.cell.start) == (FRANCE, NOW)
        assert placement.fallbacks == ()

    def test_home_counts_even_where_no_job_may_run_there(self) -> None:
        """The reference is the home region, enabled or not."""
        seen = world(
            series("DE", *[300] * 24),
            series("FR", 200, 190, *[200] * 22),
            regions=(FRANCE,),
            job_classes=classes(min_saving_percent=35),
        )
        assert placed(seen, job_class="picky").cell.start == NOW + HOUR


class TestNoHarm:
    def grids(self) -> World:
        """Average says France, and later; marginal says that both are worse than home now."""
        return world(
            series("DE", *[300] * 24),
            series("DE", *[500] * 24, signal=Signal.MARGINAL),
            series("FR", *[100] * 24),
            series("FR", *[600] * 24, signal=Signal.MARGINAL),
            series("SE-SE3", *[200] * 24),
            series("SE-SE3", *[400] * 24, signal=Signal.MARGINAL),
            regions=(GERMANY, FRANCE, SWEDEN),
        )

    def with_option(self, seen: World) -> World:
        return replace(seen, policy=seen.policy.model_copy(update={"no_harm": True}))

    def test_the_best_that_does_no_harm_is_chosen(self) -> None:
        """France would save most and raise the marginal figure; Sweden saves on both."""
        seen = self.grids()
        assert placed(seen).cell.region == FRANCE
        assert placed(self.with_option(seen)).cell.region == SWEDEN

    def test_explain_tells_what_it_cut(self) -> None:
        """The option has a line of its own beside the walls."""
        decision = decide(job(self.with_option(self.grids()), HOUR, NOW + DAY))
        assert decision.cuts[Wall.HARM] == decision.considered // 3

    def test_it_is_no_wall(self) -> None:
        """Home is full now, and everything else does harm: the least by the steering signal."""
        seen = self.with_option(self.grids())
        seen = replace(seen, forecasts=tuple(f for f in seen.forecasts if f.zone != "SE-SE3"))
        inputs = job(seen, HOUR, NOW + DAY)
        held = {hour_of(NOW) + hour: Reserved(100.0, 0) for hour in range(30)}
        full = replace(inputs, room=RoomView({(GERMANY, "on_demand"): held}))
        placement = decide(full).placement
        assert (placement.cell.region, placement.fallbacks) == (FRANCE, ())

    def test_what_the_other_signal_does_not_tell_of_is_not_known_to_be_harmless(self) -> None:
        """Without Sweden's marginal figure nothing may be claimed of it: home, now."""
        seen = self.with_option(self.grids())
        left = tuple(
            item
            for item in seen.forecasts
            if (item.zone, item.signal) != ("SE-SE3", Signal.MARGINAL)
        )
        placement = placed(replace(seen, forecasts=left))
        assert (placement.cell.region, placement.cell.start) == (GERMANY, NOW)

    def test_with_nothing_known_of_home_there_is_no_harm_to_speak_of(self) -> None:
        """The option needs a reference."""
        seen = self.with_option(self.grids())
        left = tuple(
            item for item in seen.forecasts if (item.zone, item.signal) != ("DE", Signal.MARGINAL)
        )
        assert placed(replace(seen, forecasts=left)).cell.region == FRANCE

    @given(data=st.data())
    def test_nothing_chosen_is_worse_on_the_other_signal_than_home_now(
        self, data: st.DataObject
    ) -> None:
        """Whatever the two grids do, as long as home has room."""
        values = st.lists(st.integers(10, 500), min_size=8, max_size=8)
        seen = world(
            *(
                series(zone, *data.draw(values), signal=signal)
                for zone in ("DE", "FR")
                for signal in Signal
            ),
            regions=(GERMANY, FRANCE),
            no_harm=True,
        )
        placement = decide(job(seen, HOUR, NOW + 7 * HOUR)).placement
        home_g = placement.counterfactual.estimate.marginal_carbon_g
        assert placement.estimate.marginal_carbon_g <= home_g * (1 + 1e-6)


class TestRegret:
    def learned(self, share: float) -> Regret:
        """What is promised later than now comes true to a share."""
        return Regret(survival={(Signal.AVERAGE, "DE"): (share,) * 12})

    def test_the_choice_goes_by_what_is_expected_and_the_promise_is_told_beside_it(self) -> None:
        """Of 100 g promised, 40 are expected."""
        seen = world(series("DE", 300, 300, 200, 300))
        plain = placed(seen).saving
        saving = placed(replace(seen, regret=self.learned(0.4))).saving
        assert plain.promised_g == plain.expected_g
        assert saving.promised_g == plain.promised_g
        assert saving.expected_g == pytest.approx(0.4 * plain.promised_g, rel=0.01)

    def test_a_promise_that_never_came_true_is_not_waited_for(self) -> None:
        """Nothing is expected of waiting: the earliest start wins the tie."""
        seen = world(series("DE", 300, 300, 200, 300))
        assert placed(replace(seen, regret=self.learned(0.0))).cell.start == NOW

    def test_a_least_saving_is_asked_of_what_is_expected(self) -> None:
        """A third is promised, a sixth is expected, a fifth is asked for."""
        seen = world(series("DE", 300, 300, 200, 300), job_classes=classes(min_saving_percent=20))
        assert placed(seen, job_class="picky").cell.start == NOW + 2 * HOUR
        wary = replace(seen, regret=self.learned(0.5))
        assert placed(wary, job_class="picky").cell.start == NOW


class TestStaticRule:
    def lost(self, seen: World, residency: str = "eu") -> World:
        return replace(seen, regret=Regret(static_rule=frozenset({(Signal.AVERAGE, residency)})))

    def seen(self) -> World:
        grids = (series("DE", 300, 10, 10, 10), series("FR", *[50] * 24))
        return region_with_annual(
            world(*grids, regions=(GERMANY, FRANCE)), DE=371.0, FR=53.0, SE=25.0
        )

    def test_where_forecasts_have_lost_the_greenest_by_annual_mean_runs_now(self) -> None:
        """The forecast promises ten grams at home in an hour; the year says France."""
        assert placed(self.seen()).cell.region == GERMANY
        placement = placed(self.lost(self.seen()))
        assert (placement.cell.region, placement.cell.start) == (FRANCE, NOW)
        assert placement.static_rule
        assert "annual means" in placement.reason

    def test_another_class_s_loss_is_not_one_s_own(self) -> None:
        """The rule holds by residency class."""
        assert not placed(self.lost(self.seen(), "germany")).static_rule

    def test_where_the_greenest_is_full_the_next_greenest_runs(self) -> None:
        """Room is as much a wall as ever."""
        inputs = job(self.lost(self.seen()), HOUR, NOW + DAY)
        held = {hour_of(NOW) + hour: Reserved(100.0, 0) for hour in range(30)}
        full = replace(inputs, room=RoomView({(FRANCE, "on_demand"): held}))
        placement = decide(full).placement
        assert (placement.cell.region, placement.cell.start) == (GERMANY, NOW)

    def test_the_estimate_is_by_the_forecast_as_issued(self) -> None:
        """What is promised to the books is never an annual mean."""
        placement = placed(self.lost(self.seen()))
        energy = placement.estimate.energy_kwh
        assert placement.estimate.average_carbon_g == pytest.approx(50 * energy, rel=1e-6)

    def test_without_annual_means_the_forecast_goes_on(self) -> None:
        """There is nothing else to go by."""
        bare = self.lost(self.seen())
        regions = {
            name: replace(item, average_annual_g_per_kwh=None)
            for name, item in bare.catalogue.regions.items()
        }
        bare = replace(bare, catalogue=replace(bare.catalogue, regions=regions))
        assert not placed(bare).static_rule

    def test_a_run_longer_than_the_forecast_can_be_placed(self) -> None:
        """Annual means have no horizon."""
        inputs: DecisionInputs = job(self.lost(self.seen()), 40 * HOUR, NOW + 90 * HOUR)
        assert decide(inputs).placement.fallbacks == ()
