"""An interruptible job on the real product: cut, resumed and taken back, and no work done twice.

An hour of the grid takes three seconds: two clean hours, then four dirty ones, again and again. The
program has 40 units of work of 0.2 s, more than two clean hours hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from activities.compute.supervisor import RECLAIM
from activities.stores.sqlite import SqliteStore
from domain.job import Outcome, Phase, run_name
from domain.ledger import EventKind, LedgerEvent
from domain.manifest import JobManifest
from tests.integration.stack import FRANKFURT, LOWTIDE, Stack, eventually
from workers.wiring import verify

UNITS = 40
RESUME_S = 1.0
CLEAN, DIRTY = 10, 600

PROGRAM = f"""
checkpoint=${{LOWTIDE_CHECKPOINT_URI#file://}} output=${{LOWTIDE_OUTPUT_URI#file://}}
mkdir -p "$checkpoint" "$output"
told=
trap 'told=yes' TERM
unit=$(cat "$checkpoint/unit" 2> /dev/null || echo 0)
while [ "$unit" -lt {UNITS} ]; do
  [ -z "$told" ] || exit 143
  sleep 0.2 & wait $! || continue
  unit=$((unit + 1))
  echo "$unit $LOWTIDE_ATTEMPT" >> "$output/log"
  echo "$unit" > "$checkpoint/.unit.$LOWTIDE_ATTEMPT"
  mv "$checkpoint/.unit.$LOWTIDE_ATTEMPT" "$checkpoint/unit"
done
echo "$unit units" > "$output/.result.$LOWTIDE_ATTEMPT"
ln "$output/.result.$LOWTIDE_ATTEMPT" "$output/result"
"""


def settings(folder: Path) -> dict[str, str]:
    """A grid of one country, foreseen as it comes."""
    trace = folder / "trace.csv"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        f"{(start + timedelta(hours=hour)).isoformat()},{CLEAN if hour % 6 < 2 else DIRTY}"
        for hour in range(24 * 30)
    ]
    trace.write_text("\n".join(["time,DE", *rows]) + "\n")
    return {
        "LOWTIDE_TRACE__AVERAGE": str(trace),
        "LOWTIDE_TRACE__MARGINAL": "",
        "LOWTIDE_TRACE__HOUR_S": "3",
        "LOWTIDE_TRACE__TRACE_AT": (start + timedelta(days=10, hours=4)).isoformat(),
        "LOWTIDE_TRACE__FORECAST": "perfect",
    }


def chunked(stack: Stack, name: str) -> JobManifest:
    return stack.manifest(
        name,
        PROGRAM,
        runtime="8s",
        p95_runtime="10s",
        deadline=datetime.now(UTC) + timedelta(seconds=75),
        interruptible={
            "min_chunk": "3s",
            "checkpoint": True,
            "resume_overhead": f"{RESUME_S}s",
        },
    )


def output(stack: Stack, manifest: JobManifest) -> Path:
    return stack.state / "data" / manifest.workflow_id / "output"


def attempts(chain: Sequence[LedgerEvent]) -> list[dict[str, Any]]:
    return [event.data for event in chain if event.kind is EventKind.ATTEMPT]


def ran_s(attempt: dict[str, Any]) -> float:
    ended, started = (
        datetime.fromisoformat(attempt["report"][name]) for name in ("ended_at", "started_at")
    )
    return (ended - started).total_seconds()


async def settled(stack: Stack, manifest: JobManifest) -> bool:
    return any(event.kind is EventKind.SETTLEMENT for event in stack.chain(manifest.workflow_id))


def assert_whole(stack: Stack, manifest: JobManifest) -> Sequence[LedgerEvent]:
    """One result, each unit of it done once, and a ledger that verifies."""
    chain = stack.chain(manifest.workflow_id)
    [completion] = [event for event in chain if event.kind is EventKind.COMPLETION]
    assert completion.data["outcome"] == Outcome.SUCCEEDED
    assert completion.data["deadline_met"]
    assert (output(stack, manifest) / "result").read_text() == f"{UNITS} units\n"
    done = (output(stack, manifest) / "log").read_text().splitlines()
    assert [line.partition(" ")[0] for line in done] == [str(n + 1) for n in range(UNITS)]
    with SqliteStore(stack.state / "lowtide.db") as store:
        report = verify(store)
    assert report.holds, report.faults
    assert not report.cannot_verify
    return chain


@pytest.mark.slow
async def test_a_job_is_cut_resumed_taken_back_and_accounted(tmp_path: Path) -> None:
    """Each chunk in clean hours; what a checkpoint held is done once, and counted once."""
    async with Stack(tmp_path, **settings(tmp_path)) as stack:
        await stack.start_worker()
        calm, taken = chunked(stack, "calm"), chunked(stack, "taken")
        file = tmp_path / "calm.json"
        file.write_bytes(calm.canonical())
        explained = await told(stack, "explain", str(file))
        assert " chunks\n" in explained
        assert explained.count(f"{FRANKFURT} spot") >= 2
        jobs = await stack.submitted(calm, taken)
        await stack.in_phase(jobs[1], Phase.RUNNING)
        log = output(stack, taken) / "log"
        await eventually(partial(has_lines, log, 2))
        (stack.run_folder(taken) / RECLAIM).touch()
        await stack.ended(*jobs)

        chain = assert_whole(stack, calm)
        *cut, last = attempts(chain)
        assert cut
        planned = chain[0].data["placement"]
        assert len(planned["segments"]) > 1
        estimate = planned["estimate"]
        assert estimate["average_carbon_g"] < estimate["energy_kwh"] * (CLEAN + DIRTY) / 2
        assert {(item["report"]["state"], item["report"]["exit_code"]) for item in cut} == {
            ("terminated", 143)
        }
        assert [item["segment"] for item in (*cut, last)] == list(range(len(cut) + 1))
        resumed = [
            event.data
            for event in chain
            if event.kind is EventKind.DECISION and event.data["reason"] == "resume"
        ]
        done_s = 0.0
        for before, decision in zip(cut, resumed, strict=True):
            done_s += ran_s(before) - (RESUME_S if done_s else 0)
            assert decision["work_done_s"] == pytest.approx(done_s, abs=1e-5)
            assert decision["checkpoint_region"] == FRANKFURT

        reclaimed, *_ = attempts(assert_whole(stack, taken))
        assert (reclaimed["report"]["state"], reclaimed["report"]["exit_code"]) == (
            "reclaimed",
            143,
        )

        assert f"in a checkpoint, after {len(cut)} chunk" in await told(stack, "show", "calm")
        await eventually(partial(settled, stack, calm))
        [settlement] = [
            event.data
            for event in stack.chain(calm.workflow_id)
            if event.kind is EventKind.SETTLEMENT
        ]
        all_s = sum(map(ran_s, (*cut, last)))
        useful_s = all_s - RESUME_S * len(cut)
        assert settlement["counterfactual"]["energy_kwh"] == pytest.approx(
            settlement["actual"]["energy_kwh"] * useful_s / all_s, rel=1e-4
        )
        assert_whole(stack, calm)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_chunks_outlive_a_kill_of_the_worker(tmp_path: Path) -> None:
    """While the first chunk runs, and again between chunks."""
    async with Stack(tmp_path, **settings(tmp_path)) as stack:
        await stack.start_worker()
        manifest = chunked(stack, "killed").model_copy(
            update={"deadline": datetime.now(UTC) + timedelta(seconds=150)}
        )
        [job] = await stack.submitted(manifest)
        await stack.in_phase(job, Phase.RUNNING)
        stack.kill_worker()
        await stack.kill_server()
        await stack.start_server()
        await stack.start_worker()

        async def between() -> bool:
            status = await stack.client.job(job.id).status()
            return status.segment > 0 and status.phase is Phase.DEFERRED

        await eventually(between)
        stack.kill_worker()
        await stack.kill_server()
        await stack.start_server()
        await stack.start_worker()
        await stack.ended(job)
        chain = assert_whole(stack, manifest)
        assert len(attempts(chain)) > 1
        names = [event.data["run"] for event in chain if event.kind is EventKind.DISPATCH]
        assert names == [
            run_name(manifest.workflow_id, item["segment"], item["attempt"])
            for item in attempts(chain)
        ]


async def told(stack: Stack, *arguments: str) -> str:
    """What a command of ours prints."""
    process = await asyncio.create_subprocess_exec(
        LOWTIDE,
        *arguments,
        cwd=stack.folder,
        env=stack.environment | {"COLUMNS": "120"},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def has_lines(log: Path, least: int) -> bool:
    return log.exists() and len(log.read_text().splitlines()) >= least
