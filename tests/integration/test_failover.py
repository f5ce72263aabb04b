"""Signals lost and found again, end to end: jobs run on, and the ledger says what they went by."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from domain.forecast import Signal
from domain.job import Outcome, SignalBasis
from domain.policy import OnSignalLoss, Policy
from tests.clients.site import POLICY, SOON, Site, wait_for
from tests.integration.live_stage import LiveStage, live_stage
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME
from tests.servers.carbon_faults import Kind
from tests.workflows.harness import FRANKFURT, PARIS, STOCKHOLM, ZONES, shipped_policy
from workers.devserver import free_port

EM, WT, PERSISTENCE, PUBLISHED = "electricity_maps", "watttime", "persistence", "published"
"""As forecasts and ledger lines call those who made them."""

BY_AVERAGE, BY_MARGINAL, BY_COST = SignalBasis.AVERAGE, SignalBasis.MARGINAL, SignalBasis.COST_ONLY
CHOSEN = {BY_AVERAGE: PARIS, BY_MARGINAL: FRANKFURT, BY_COST: STOCKHOLM}
UP: tuple[str, ...] = ()
BOTH = (ELECTRICITY_MAPS, WATTTIME)
LOST = None


@dataclass(frozen=True)
class Act:
    """What is down from some hour on, who then serves each signal, and what a job must go by."""

    name: str
    at_hours: float
    down: tuple[str, ...]
    average: str | None
    marginal: str | None
    basis: SignalBasis
    refreshes: bool = True

    @property
    def provider(self) -> str | None:
        """Whom the job's decisions must name."""
        return {BY_AVERAGE: self.average, BY_MARGINAL: self.marginal}.get(self.basis)

    @property
    def waits(self) -> bool:
        """Whether what is known tells a good hour from a bad one."""
        return self.provider not in {None, PUBLISHED}

    @property
    def region(self) -> str:
        """Where the job must run; the yearly figures favour Stockholm, as the prices do."""
        return STOCKHOLM if self.provider == PUBLISHED else CHOSEN[self.basis]


def policy(steering: Signal, on_loss: OnSignalLoss = OnSignalLoss.OTHER_SIGNAL) -> Policy:
    """The policy that ships, with these two choices."""
    return shipped_policy().model_copy(
        update={"steering_signal": steering, "on_signal_loss": on_loss}
    )


STORIES = {
    "average steers": (
        policy(Signal.AVERAGE),
        (
            Act("all-up", 0, UP, EM, WT, BY_AVERAGE),
            Act("primary-down", 6, (ELECTRICITY_MAPS,), WT, WT, BY_AVERAGE),
            Act("both-down", 12, BOTH, PERSISTENCE, PERSISTENCE, BY_AVERAGE),
            Act("nothing-young", 48, BOTH, PUBLISHED, LOST, BY_AVERAGE),
            Act("no-refresh", 50, BOTH, LOST, LOST, BY_COST, refreshes=False),
            Act("all-back", 54, UP, EM, WT, BY_AVERAGE),
        ),
    ),
    "marginal steers": (
        policy(Signal.MARGINAL),
        (
            Act("all-up", 0, UP, EM, WT, BY_MARGINAL),
            Act("primary-down", 6, (WATTTIME,), EM, PERSISTENCE, BY_MARGINAL),
            Act("marginal-lost", 36, (WATTTIME,), EM, LOST, BY_AVERAGE),
            Act("both-down", 42, BOTH, PERSISTENCE, LOST, BY_AVERAGE),
            Act("nothing-young", 78, BOTH, PUBLISHED, LOST, BY_AVERAGE),
            Act("no-refresh", 80, BOTH, LOST, LOST, BY_COST, refreshes=False),
            Act("all-back", 84, UP, EM, WT, BY_MARGINAL),
        ),
    ),
    "marginal steers, or cost": (
        policy(Signal.MARGINAL, OnSignalLoss.COST_ONLY),
        (
            Act("all-up", 0, UP, EM, WT, BY_MARGINAL),
            Act("primary-down", 6, (WATTTIME,), EM, PERSISTENCE, BY_MARGINAL),
            Act("marginal-lost", 36, (WATTTIME,), EM, LOST, BY_COST),
            Act("both-down", 42, BOTH, PERSISTENCE, LOST, BY_COST),
            Act("all-back", 48, UP, EM, WT, BY_MARGINAL),
        ),
    ),
}


@pytest.mark.parametrize("story", STORIES)
async def test_whatever_is_lost_jobs_run_on_and_the_next_refresh_recovers(
    tmp_path: Path, story: str
) -> None:
    """No deadline is missed, and each ledger line names the signal compared and who made it."""
    in_force, acts = STORIES[story]
    async with live_stage(tmp_path, in_force) as stage:
        for act in acts:
            await play(stage, act)
        stage.assert_ledger_holds()


async def play(stage: LiveStage, act: Act) -> None:
    """A change, the refreshes before and after it, and one job from submission to end."""
    if act.refreshes:
        await stage.skip_to(stage.at(act.at_hours, minutes=-5))
        await stage.refresh()
    await stage.skip_to(stage.at(act.at_hours))
    stage.only_down(*act.down)
    if act.refreshes:
        report = await stage.refresh()
        assert [name for name in (EM, WT) if name in str(report.refused)] == [
            name.replace("-", "_") for name in act.down
        ]
    for of, provider in ((Signal.AVERAGE, act.average), (Signal.MARGINAL, act.marginal)):
        found = await stage.fresh(of)
        assert found == (dict.fromkeys(ZONES.values(), provider) if provider else {})

    job = await stage.planned(act.name)
    result = await stage.finished(job, refreshes=act.refreshes)

    assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, True)
    assert result.region == act.region
    placements = stage.placements(act.name)
    assert {(item.basis, item.signal_provider) for item in placements} == {
        (act.basis, act.provider)
    }
    assert stage.weighed(act.name) == [dict.fromkeys(ZONES, act.provider)] * len(placements)
    plan, *looks = placements
    assert bool(looks) == act.waits
    assert (plan.cell.start > stage.at(act.at_hours + 2)) == act.waits


LOSSES = {
    "the primary": ((ELECTRICITY_MAPS,), True, BY_AVERAGE, WT),
    "both": (BOTH, True, BY_AVERAGE, PERSISTENCE),
    "refreshes": (UP, False, BY_COST, None),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_sleeper_wakes_to_what_is_left(tmp_path: Path, loss: str) -> None:
    """Planned while all was up, it goes by another's forecast at its last look, or by cost."""
    down, refreshes, basis, provider = LOSSES[loss]
    async with live_stage(tmp_path, policy(Signal.AVERAGE)) as stage:
        await stage.refresh()
        job = await stage.planned("sleeper")
        stage.only_down(*down)
        result = await stage.finished(job, refreshes=refreshes)
        assert (result.region, result.deadline_met) == (CHOSEN[basis], True)
        lines = [(item.basis, item.signal_provider) for item in stage.placements("sleeper")]
        assert lines == [(BY_AVERAGE, EM), (basis, provider)]
        stage.assert_ledger_holds()


async def test_where_some_zones_are_lost_their_regions_are_left_out(tmp_path: Path) -> None:
    """Paris has the other signal, and by far the best of it; the two are never mixed."""
    async with live_stage(tmp_path, policy(Signal.MARGINAL)) as stage:
        stage.carbon.faults.add(Kind.STATUS, status=403, provider=WATTTIME, place="FR")
        await stage.refresh()
        result = await stage.finished(await stage.planned("paris-unknown"))
        assert result.region == FRANKFURT
        for placement in stage.placements("paris-unknown"):
            assert (placement.basis, placement.signal_provider) == (BY_MARGINAL, WT)
            assert placement.regions_without_signal == (PARIS,)
        assert stage.weighed("paris-unknown") == [{FRANKFURT: WT, STOCKHOLM: WT}] * 2
        stage.assert_ledger_holds()


async def test_where_too_many_zones_are_lost_the_whole_decision_moves(tmp_path: Path) -> None:
    """Stockholm still has the steering signal, and is compared by the other like the rest."""
    async with live_stage(tmp_path, policy(Signal.MARGINAL)) as stage:
        for place in ("DE", "FR"):
            stage.carbon.faults.add(Kind.STATUS, status=403, provider=WATTTIME, place=place)
        await stage.refresh()
        assert await stage.fresh(Signal.MARGINAL) == {ZONES[STOCKHOLM]: WT}
        result = await stage.finished(await stage.planned("two-unknown"))
        assert result.region == PARIS
        for placement in stage.placements("two-unknown"):
            assert (placement.basis, placement.signal_provider) == (BY_AVERAGE, EM)
            assert "by average: marginal is fresh in too few regions" in placement.reason
        assert stage.weighed("two-unknown") == [dict.fromkeys(ZONES, EM)] * 2
        stage.assert_ledger_holds()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose marginal signal steers, and where a forecast may be older than a refresh."""
    site = Site.lay_out(tmp_path)
    told = POLICY.replace("forecast_max_age: 10s", "forecast_max_age: 30m")
    (tmp_path / "policy.yaml").write_text(told.replace("signal: average", "signal: marginal"))
    return site


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_newcomer_breaks_watttime_and_sees_it_come_back(site: Site) -> None:
    """``lowtide dev --providers fake``: what the page of ``/control`` breaks, commands show."""

    def shown(signal: str) -> set[tuple[str, str]]:
        rows = site.json("signals", "--signal", signal)
        return {(row["provider"], row["state"]) for row in rows}

    def line_of(job: str) -> tuple[str, str]:
        done = site.run("submit", site.file(job, deadline=f'"{SOON}"'), "--wait")
        assert done.returncode == 0, done.stderr
        plan = site.json("ledger", "show", job)[0]["data"]["placement"]
        return plan["basis"], plan["signal_provider"]

    with dev_on_fakes(site) as control:
        wait_for(lambda: shown("marginal") == {(WT, "fresh")})
        assert line_of("all-up") == ("marginal", WT)

        tell(control, "POST", {"kind": "status", "status": 503, "provider": WATTTIME})
        wait_for(lambda: shown("marginal") == {(PERSISTENCE, "fresh")})
        assert shown("average") == {(EM, "fresh")}
        assert line_of("primary-down") == ("marginal", PERSISTENCE)

        tell(control, "DELETE")
        # The circuit breaker leaves a provider in peace for a minute.
        wait_for(lambda: shown("marginal") == {(WT, "fresh")}, within_s=120)
        assert line_of("back") == ("marginal", WT)
    assert site.json("ledger", "verify")["holds"]


@contextmanager
def dev_on_fakes(site: Site) -> Iterator[str]:
    """``lowtide dev --providers fake`` while the block runs; yields the fakes' control address."""
    ports = ("--port", str(site.port), "--ui-port", str(free_port()))
    dev = site.start(
        *("dev", "--providers", "fake", "--state", str(site.state), *ports),
        LOWTIDE_LOG_LEVEL="error",
    )
    try:
        assert dev.stdout is not None
        told = next((line for line in dev.stdout if line.startswith("providers")), "")
        assert told, dev.communicate()
        yield told.split()[1]
    finally:
        dev.send_signal(signal.SIGINT)
        dev.communicate(timeout=60)


def tell(control: str, method: str, fault: dict[str, object] | None = None) -> None:
    """What the manual of ``lowtide dev`` says to do with curl."""
    body = None if fault is None else json.dumps(fault).encode()
    request = urllib.request.Request(f"{control}/faults", body, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        assert answer.status == 200
