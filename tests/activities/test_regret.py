"""Regret in production: learned as jobs are settled, seen by every decision after, verified."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from activities.prices.static import StaticPrices
from activities.regret import LOOK_EVERY, StoredRegret
from activities.stores.sqlite import SqliteStore
from activities.world import WorldReader
from domain import settlement_record
from domain.decision import DecisionInputs
from domain.decision_record import decision_data
from domain.forecast import Forecast, Observation, Signal
from domain.job import DecisionReason, Placement, Saving
from domain.ledger import Draft, EventKind
from domain.placement import decide
from domain.ports import Commit, DocumentName
from domain.regret import BUCKETS, Regret
from domain.regret_learning import HALF_LIFE
from domain.regret_lessons import RegretLessons
from domain.verify import verify_ledger
from tests.activities.settling import HOUR, publish, ran, settle
from tests.domain.recorded import NOW, make_inputs, make_world, stub_decide

DAY = timedelta(days=1)
WAVE = tuple(400.0 - 100.0 * (hour % 2) for hour in range(48))
"""A forecast of Germany that promises a quarter less each other hour."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        yield opened


def wave(at: datetime = NOW, step_s: float = 3600.0) -> Forecast:
    return Forecast("DE", Signal.AVERAGE, "trace", "test", at, at, step_s, WAVE)


def saw(name: str, at: datetime = NOW, **scaled: float) -> DecisionInputs:
    """What a job that was planned at ``at`` saw."""
    return replace(make_inputs(name, make_world(wave(at, **scaled))), now=at)


def lessons(store: SqliteStore) -> RegretLessons | None:
    content = store.document(DocumentName.REGRET)
    return RegretLessons.model_validate_json(content) if content else None


def share(store: SqliteStore) -> float:
    """What a decision made now believes of Germany three to six hours ahead."""
    regret = StoredRegret(store).regret(NOW)
    assert regret is not None
    return regret.survival[Signal.AVERAGE, "DE"][3]


async def test_forecasts_are_learned_from_when_their_hours_have_passed(store: SqliteStore) -> None:
    """A job is settled hours after its decision; what that saw is learned days after."""
    ran(store, saw("nightly"))
    publish(store, 72)
    assert (await settle(store, NOW + 8 * HOUR)).settled == 1
    waiting = lessons(store)
    assert waiting is not None
    assert [moment.job for moment in waiting.waiting] == ["job-default-nightly"]
    assert waiting.history.zones == {}
    assert StoredRegret(store).regret(NOW) is None
    await settle(store, NOW + 3 * DAY)
    found = lessons(store)
    assert found is not None
    assert found.waiting == ()
    assert found.history.zones[Signal.AVERAGE]["DE"].days[3] == 0.5
    assert 0.5 < share(store) < 1.0


async def test_many_jobs_that_saw_one_forecast_are_one_lesson(store: SqliteStore) -> None:
    """A job that is settled later, and saw it too, adds nothing: what was learned only fades."""
    for name in ("first", "second"):
        ran(store, saw(name))
    publish(store, 100)
    await settle(store, NOW + 3 * DAY)
    once = lessons(store)
    assert once is not None
    ran(store, saw("third"))
    await settle(store, NOW + 4 * DAY)
    again = lessons(store)
    assert again is not None
    [before], [after] = (it.history.zones[Signal.AVERAGE].values() for it in (once, again))
    faded = 0.5 ** (DAY / HALF_LIFE)
    assert after.days == pytest.approx([faded * days for days in before.days])
    assert again.waiting == ()


async def test_few_decisions_of_many_wait_to_be_learned_from(store: SqliteStore) -> None:
    """Five hours apart, whichever job and pass they come with: the document stays small."""
    publish(store, 30)
    for hours in range(12):
        ran(store, saw(f"hour-{hours}", NOW + hours * HOUR))
        await settle(store, NOW + (hours + 8) * HOUR)
    found = lessons(store)
    assert found is not None
    assert [(moment.at - NOW) / HOUR for moment in found.waiting] == [0, 5, 10]


async def test_more_moments_tell_more(store: SqliteStore) -> None:
    """Ten days of a forecast that promises what never comes."""
    publish(store, 24 * 14)
    believed = []
    for day in range(10):
        ran(store, saw(f"day-{day}", NOW + day * DAY))
        await settle(store, NOW + (day + 3) * DAY)
        believed.append(share(store))
    assert believed == sorted(believed, reverse=True)
    assert believed[-1] < 0.5


async def test_a_compressed_trace_is_learned_from_in_its_own_time(store: SqliteStore) -> None:
    """At two seconds an hour, three of its days are 144 seconds."""
    scale = 1800.0
    world = make_world(wave(step_s=2.0), time_scale=scale)
    ran(store, make_inputs("fast", world))
    store.put_observations(
        [
            Observation("DE", Signal.AVERAGE, NOW + n * HOUR / scale, 2.0, 400.0, "trace")
            for n in range(int(4 * scale))
        ]
    )
    await settle(store, NOW + 8 * HOUR)
    found = lessons(store)
    assert found is not None
    assert found.history.zones[Signal.AVERAGE]["DE"].days[3] == 0.5


async def test_what_another_build_learned_in_another_form_is_begun_anew(
    store: SqliteStore,
) -> None:
    """It stops neither settlement nor decisions."""
    store.put_document(DocumentName.REGRET, b"of another form")
    assert StoredRegret(store).regret(NOW) is None
    ran(store, saw("nightly"))
    publish(store, 72)
    assert (await settle(store, NOW + 3 * DAY)).settled == 1
    assert share(store) < 1.0


async def test_a_lost_input_keeps_no_other_from_being_learned(tmp_path: Path) -> None:
    """Its job was settled while it was there; verify names it."""
    file = tmp_path / "lowtide.db"
    with SqliteStore(file) as store:
        ran(store, saw("lost"))
        ran(store, saw("kept", NOW + 6 * HOUR))
        publish(store, 100)
        await settle(store, NOW + 9 * HOUR)
        with closing(sqlite3.connect(file)) as vandal:
            vandal.execute("DELETE FROM blobs WHERE sha256 = ?", (wave().sha256,))
            vandal.commit()
        await settle(store, NOW + 4 * DAY)
        found = lessons(store)
        assert found is not None
        assert found.history.zones[Signal.AVERAGE]["DE"].newest == NOW + 6 * HOUR


# ── as decisions see it ──────────────────────────────────────────────────────────────────────


def learned(level: float) -> Regret:
    return Regret(survival={(Signal.AVERAGE, "DE"): (level,) * BUCKETS})


def reader(store: SqliteStore) -> WorldReader:
    base = make_world()
    return WorldReader(
        store,
        StaticPrices(base.prices),
        StoredRegret(store),
        base.policy,
        base.catalogue,
        base.methodology,
        1.0,
    )


async def test_the_world_is_one_object_until_something_was_learned(store: SqliteStore) -> None:
    """And looked for seldom: within ``LOOK_EVERY`` nothing is asked of the store."""
    store.put_forecasts([wave()])
    worlds = reader(store)
    first = worlds.read(NOW)
    assert first.regret is None
    ran(store, saw("nightly"))
    publish(store, 72)
    await settle(store, NOW + 3 * DAY)
    assert worlds.read(NOW + LOOK_EVERY / 2) is first
    second = worlds.read(NOW + LOOK_EVERY)
    assert second.regret is not None
    assert second.regret.survival.keys() == {(Signal.AVERAGE, "DE")}
    await settle(store, NOW + 3 * DAY + HOUR)
    assert worlds.read(NOW + 3 * LOOK_EVERY) is second


async def test_a_ledger_of_decisions_with_regret_is_recomputed(store: SqliteStore) -> None:
    """What was learned is among the inputs, by content; of another the choice is another."""
    for level in (0.0, 1.0):
        here = replace(wave(), values=(500.0, *WAVE[1:]))
        base = make_world(here, replace(wave(), zone="FR", values=(900.0,) * 48))
        inputs = make_inputs(f"nightly-{level:.0f}", replace(base, regret=learned(level)))
        placement = decide(inputs).placement
        data, blobs = decision_data(inputs, placement, DecisionReason.PLAN)
        assert data["inputs"]["regret"] == learned(level).sha256
        job = inputs.manifest.workflow_id
        store.admit(job, inputs.manifest.canonical(), "e1", rerun=False)
        store.commit(Commit(job, 1, (Draft(EventKind.DECISION, NOW, data),), blobs))
        assert (placement.cell.start == NOW) == (level == 0)
    report = verify_ledger(store, lambda inputs: decide(inputs).placement)
    assert report.holds, report.faults
    assert report.recomputed[EventKind.DECISION] == 2


# ── what was promised, and what came ─────────────────────────────────────────────────────────


PROMISED = Saving(promised_g=90.0, expected_g=40.0)


def promising(inputs: DecisionInputs) -> Placement:
    return stub_decide(inputs).model_copy(update={"saving": PROMISED})


async def test_a_settlement_tells_what_became_of_the_promise(store: SqliteStore) -> None:
    """By the signal that steered: what home would have emitted at submission, less what it did."""
    job = ran(store, make_inputs(), saving=PROMISED)
    store.put_observations(
        [
            Observation("DE", Signal.AVERAGE, NOW + n * HOUR, 3600.0, 400.0 - 50 * n, "trace")
            for n in range(6)
        ]
    )
    await settle(store)
    [data] = [item.data for item in store.events(job) if item.kind is EventKind.SETTLEMENT]
    home_g, actual_g = (data[side]["average_carbon_g"] for side in ("counterfactual", "actual"))
    assert data["saving"] == {
        "basis": "average",
        "promised_g": 90.0,
        "expected_g": 40.0,
        "realised_g": pytest.approx(home_g - actual_g),
    }
    assert data["saving"]["realised_g"] == pytest.approx(home_g * 150 / 400)
    recompute = {EventKind.SETTLEMENT: settlement_record.recompute}
    report = verify_ledger(store, promising, recompute)
    assert report.holds, report.faults
    assert report.recomputed[EventKind.SETTLEMENT] == 1


async def test_what_promised_nothing_is_settled_without_a_saving(store: SqliteStore) -> None:
    """As those before it were, which so still hold; a decision of old names no saving at all."""
    job = ran(store, make_inputs())
    publish(store, 6)
    await settle(store)
    events = store.events(job)
    [settled] = [item for item in events if item.kind is EventKind.SETTLEMENT]
    assert "saving" not in settled.data
    first = events[0]
    placement = {key: it for key, it in first.data["placement"].items() if key != "saving"}
    old = (replace(first, data={**first.data, "placement": placement}), *events[1:])
    assert settled.data == settlement_record.recompute(settled, old, store.blobs)
