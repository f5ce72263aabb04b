"""Every command against a running ``lowtide dev``: tables, JSON, exit codes."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.cli import app
from domain.capacity import CapacityType
from domain.fresh_prices import FreshPrice, rows_to_json
from domain.ledger import EventKind, LedgerEvent
from domain.ports import DocumentName
from domain.reclaims import Exposure, ReclaimHistory
from tests.clients.site import SOON, Site, wait_for

COMMANDS = (
    *("dev", "demo", "worker", "submit", "list", "show", "explain", "run-now", "cancel"),
    *("change-deadline", "signals", "regions", "prices", "backtest", "regret", "refresh"),
    "ledger",
)
LEDGER_COMMANDS = ("show", "verify", "export")


def assert_fits(text: str, width: int = 80) -> None:
    """No line is longer, and nothing was cut to make it so."""
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width, text


class TestHelp:
    @pytest.mark.parametrize(
        "arguments",
        [(), *((name,) for name in COMMANDS), *(("ledger", name) for name in LEDGER_COMMANDS)],
        ids=" ".join,
    )
    def test_help_teaches(self, arguments: tuple[str, ...]) -> None:
        """Each command says what it does in a sentence that is not cut, and what it takes."""
        done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*arguments, "--help"])
        assert done.exit_code == 0
        assert_fits(done.stdout)
        assert "..." not in done.stdout.replace("[ARGS]...", "")
        assert "--help" in done.stdout

    def test_the_first_page_tells_where_to_begin(self) -> None:
        """Three commands for newcomers, the exit codes, and every command."""
        done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [])
        assert "lowtide demo" in done.output
        assert "Exit codes: 0 well, 1" in done.output
        assert {line.split()[0] for line in done.output.splitlines() if line.strip()} >= set(
            COMMANDS
        )


class TestJobs:
    def test_a_job_from_submission_to_settlement(self, site: Site) -> None:
        """What people see of one job: its submission, its plan, its chain."""
        done = site.run("submit", "-", "--wait", given=site.text("whole", deadline=SOON))
        assert done.returncode == 0, done.stderr
        assert "job-default-whole  " in done.stdout
        assert "latest safe start" in done.stdout
        assert "job-default-whole: Succeeded (deadline met)" in done.stdout.splitlines()[-1]
        assert done.stderr == ""
        wait_for(lambda: EventKind.SETTLEMENT in [item.kind for item in chain(site, "whole")])
        shown, ledger = site.call("show", "whole"), site.call("ledger", "show", "whole")
        assert "Finished, Succeeded" in shown.stdout
        assert "(0 reclaimed, 0 failed)" in shown.stdout
        assert_fits(ledger.stdout)
        for event in ("decision", "dispatch", "attempt", "completion", "settlement"):
            assert f" {event} " in ledger.stdout

    def test_json_is_all_that_stands_on_standard_output(self, site: Site) -> None:
        """Also with --wait: one document, nothing before or after it."""
        done = site.run("submit", "-", "--wait", "--json", given=site.text("doc", deadline=SOON))
        result = json.loads(done.stdout)
        assert (result["outcome"], result["deadline_met"]) == ("Succeeded", True)
        assert done.stderr == ""

    def test_a_failing_program_ends_with_one(self, site: Site) -> None:
        """The job was taken and failed: that is not bad input. --rerun runs it again."""
        file = site.file("failing", command='["sh", "-c", "exit 7"]', deadline=f'"{SOON}"')
        done = site.run("submit", file, "--wait")
        assert done.returncode == 1
        assert "Failed" in done.stdout
        assert "exit code 7" in done.stdout
        again = site.call("submit", file, "--rerun", "--wait", "--json")
        assert again.returncode == 1
        assert json.loads(again.stdout)["outcome"] == "Failed"
        assert sum(item.kind is EventKind.DISPATCH for item in chain(site, "failing")) == 2

    def test_a_deferred_job_and_its_overrides(self, site: Site) -> None:
        """What is explained is what is planned; then another deadline, and the end of it."""
        file = site.file("waits")
        explained, plan = site.json("explain", file), site.json("submit", file)
        assert plan["phase"] == "Deferred"
        cell, planned = (item["placement"]["segments"][0]["cell"] for item in (explained, plan))
        for fact in ("region", "capacity_type"):
            assert cell[fact] == planned[fact]
        assert site.json("submit", file)["job"] == plan["job"]
        unreasoned = site.call("cancel", "waits")
        assert unreasoned.returncode == 2
        assert "--reason" in unreasoned.stderr
        changed = site.json("change-deadline", "waits", "+630s", "--reason", "more time")
        assert changed["deadline"] > plan["deadline"]
        cancelled = site.call("cancel", "waits", "--reason", "wrong sample", "--wait")
        assert cancelled.returncode == 0
        assert "wrong sample" in cancelled.stdout
        for command in ("cancel", "run-now"):
            done = site.call(command, "waits", "--reason", "x")
            assert done.returncode == 2
            assert "no effect on a job that is Finished" in done.stderr

    def test_run_now(self, site: Site) -> None:
        """By full id as well; the ledger holds who and why."""
        site.json("submit", "-", given=site.text("hurry", tenant="genomics"))
        done = site.call("run-now", "job-genomics-hurry", "--reason", "results are needed")
        assert (done.returncode, done.stdout) == (0, "job-genomics-hurry: starting now\n")
        wait_for(
            lambda: site.json("show", "hurry", "--tenant", "genomics")["outcome"] == "Succeeded"
        )
        [override] = [
            item for item in chain(site, "hurry", "genomics") if item.kind is EventKind.OVERRIDE
        ]
        assert override.data["reason"] == "results are needed"
        assert override.data["actor"]

    def test_the_list_fits_eighty_columns(self, site: Site) -> None:
        """The longest name and every fact stand in it, whole."""
        name = "a-name-that-is-as-long-as-a-name-may-ever-be-481"
        assert len(name) == 48
        site.json("submit", "-", given=site.text(name, tenant="longest"))
        query = ("--query", 'Tenant="longest" AND Phase="Deferred"')
        wait_for(lambda: len(site.json("list", *query)) == 1)
        [job] = site.json("list", *query)
        done = site.run("list", *query)
        assert_fits(done.stdout)
        title, _, header, *rows = done.stdout.splitlines()
        assert title == "1 jobs"
        width = header.index("phase")
        assert "".join(row[:width].strip() for row in rows) == f"longest-{name}"
        for moment in ("planned_start", "deadline"):
            assert job[moment][5:19].replace("T", " ") in done.stdout
        for fact in ("Deferred", job["region"], job["capacity_type"]):
            assert fact in done.stdout
        saved = 100 * job["carbon_avoided_g"] / (job["carbon_planned_g"] + job["carbon_avoided_g"])
        assert f"{saved:.0f} %" in done.stdout

    def test_list_and_show_tell_the_grid_now(self, site: Site, tmp_path: Path) -> None:
        """By the signal store where there is one; left out, and none made, where there is not."""
        site.json("submit", "-", given=site.text("waits", tenant="gridnow"))
        show, query = ("show", "waits", "--tenant", "gridnow"), ("--query", 'Tenant="gridnow"')
        assert site.json(*show)["carbon_now_g_per_kwh"] > 0
        assert " g/kWh in " in site.run(*show).stdout
        wait_for(lambda: len(site.json("list", *query)) == 1)
        [job] = site.json("list", *query)
        assert job["carbon_now_g_per_kwh"] > 0
        elsewhere = site.run(*show, LOWTIDE_STATE_DIR=str(tmp_path))
        assert elsewhere.returncode == 0
        assert " g/kWh in " not in elsewhere.stdout
        assert list(tmp_path.iterdir()) == []


def chain(site: Site, name: str, tenant: str = "default") -> tuple[LedgerEvent, ...]:
    """A job's events, from the store."""
    with site.store() as store:
        return store.events(f"job-{tenant}-{name}")


class TestOperators:
    def test_signals(self, site: Site) -> None:
        """Both signals of each region: now, next, state, age."""
        done = site.run("signals")
        assert_fits(done.stdout)
        assert done.stderr == ""
        assert "average steers; the policy allows a forecast 10 s" in done.stdout
        rows = site.json("signals", "--signal", "average")
        assert [row["region"] for row in rows] == [
            "aws:eu-central-1",
            "aws:eu-north-1",
            "aws:eu-west-3",
        ]
        assert {row["state"] for row in rows} == {"fresh"}
        assert [row["g_per_kwh"] for row in rows] == [400, 40, 80]
        assert {(row["provider"], row["methodology"]) for row in rows} == {("trace", "perfect")}
        assert all(row["values"] and row["age_s"] < 10 for row in rows)

    def test_what_was_observed(self, site: Site) -> None:
        """By day for people, point by point as JSON; a span that makes no sense is told."""
        done = site.run("signals", "--history", "10m", "--region", "aws:eu-north-1")
        assert_fits(done.stdout)
        assert "aws:eu-north-1 average" in done.stdout
        points = site.json("signals", "--history", "10m", "--signal", "average")
        assert {point["region"] for point in points} >= {"aws:eu-central-1", "aws:eu-north-1"}
        assert {point["provider"] for point in points} == {"trace"}
        wrong = site.call("signals", "--history", "soon")
        assert wrong.returncode == 2
        assert "--history: soon is not allowed; expected a duration" in wrong.stderr
        wrong = site.call("signals", "--region", "aws:eu-nort-1")
        assert wrong.returncode == 2
        assert "perhaps aws:eu-north-1" in wrong.stderr

    def test_prices(self, site: Site) -> None:
        """Both capacity types of each region, with where the figures come from."""
        done = site.call("prices")
        assert_fits(done.stdout)
        assert "Prices (table 2026.1, $ an hour)" in done.stdout
        rows = {(row["region"], row["capacity_type"]): row for row in site.json("prices")}
        assert {region for region, _ in rows} == {
            *("aws:eu-central-1", "aws:eu-north-1", "aws:eu-west-3")
        }
        spot = rows["aws:eu-north-1", "spot"]
        assert (spot["usd_per_vcpu_hour"], spot["stale"]) == (0.014174, False)
        assert "Spot Instance Advisor" in spot["source"]
        assert rows["aws:eu-north-1", "on_demand"]["reclaims_per_hour"] == 0

    def test_live_prices(self, site: Site) -> None:
        """What was told and learned, and what is stale of it; in 80 columns too."""
        long_ago = datetime(2026, 1, 1, 9, tzinfo=UTC)
        told = FreshPrice(
            region="aws:eu-north-1",
            capacity_type=CapacityType.SPOT,
            usd_per_vcpu_hour=0.0123,
            usd_per_gib_hour=0.0017,
            as_of=long_ago,
            good_until=long_ago + timedelta(hours=6),
            source="EC2 Spot: 0.3471 of the table's on-demand price",
        )
        learned = {"aws:eu-west-3": Exposure(hours=1000, reclaims=8)}
        history = ReclaimHistory(as_of=long_ago, regions=learned)
        with site.store() as store:
            store.put_document(DocumentName.FRESH_PRICES, rows_to_json([told]))
            store.put_document(DocumentName.RECLAIMS, history.model_dump_json().encode())
        live = replace(site, environment=site.environment | {"LOWTIDE_PRICE_FEED__KIND": "live"})
        done = live.call("prices")
        assert_fits(done.stdout)
        assert "stale: EC2 Spot" in " ".join(done.stdout.split())
        rows = {(row["region"], row["capacity_type"]): row for row in live.json("prices")}
        stale = rows["aws:eu-north-1", "spot"]
        assert (stale["usd_per_vcpu_hour"], stale["stale"]) == (0.0123, True)
        assert stale["as_of"] == "2026-01-01T09:00Z"
        reclaimed = rows["aws:eu-west-3", "spot"]
        assert (reclaimed["reclaims_per_hour"], reclaimed["stale"]) == (0.0040535, False)
        assert "learned from 1000.0 h" in reclaimed["source"]
        assert site.json("prices", "--region", "aws:eu-north-1")[0]["stale"] is False

    def test_prices_of_one_region(self, site: Site) -> None:
        """Enabled or not; a name that does not exist is told with what may have been meant."""
        assert {row["region"] for row in site.json("prices", "--region", "gcp:us-east1")} == {
            "gcp:us-east1"
        }
        wrong = site.call("prices", "--region", "aws:eu-nort-1")
        assert wrong.returncode == 2
        assert "perhaps aws:eu-north-1" in wrong.stderr

    def test_a_second_clock(self, site: Site) -> None:
        """A refresh without Temporal: what came, and nothing twice."""
        with site.store() as store:
            before = len(store.forecasts())
        report = site.json("refresh")
        assert report["forecasts"] == before
        assert report["refused"] == []
        done = site.run("refresh")
        assert f"{before} forecasts, " in done.stdout
        with site.store() as store:
            assert len(store.forecasts()) == before

    def test_a_signal_that_is_not_there_is_shown_as_none(self, site: Site) -> None:
        """Sweden has no marginal signal in this trace."""
        rows = site.json("signals", "--signal", "marginal")
        sweden = next(row for row in rows if row["zone"] == "SE-SE3")
        assert (sweden["state"], sweden["g_per_kwh"], sweden["values"]) == ("none", None, None)

    def test_regions(self, site: Site) -> None:
        """The whole catalogue, or what the policy enables, with its residency classes."""
        done = site.call("regions")
        assert_fits(done.stdout)
        assert "not enabled" in done.stdout
        rows = {row["region"]: row for row in site.json("regions", "--enabled")}
        assert rows["aws:eu-central-1"]["residency"] == ["eu", "germany"]
        assert set(rows) == {"aws:eu-central-1", "aws:eu-north-1", "aws:eu-west-3"}

    def test_explain(self, site: Site) -> None:
        """The choice and why, the best cell of each region, and what it would have cost at home."""
        done = site.call("explain", "-", "--deadline", SOON, given=site.text("explained"))
        assert done.returncode == 0, done.stderr
        first, _, *table, last = done.stdout.splitlines()
        assert first.startswith("aws:eu-")
        assert last.startswith("without Lowtide: aws:eu-central-1 spot now")
        assert_fits("\n".join(table))
        for region in ("aws:eu-central-1", "aws:eu-north-1", "aws:eu-west-3"):
            assert region in "".join(table)

    def test_the_ledger_is_exported_and_verified_elsewhere(self, site: Site, idle: Site) -> None:
        """The bundle holds alone; a changed byte in it is found, and the exit code says so."""
        job = site.json("submit", "-", "--wait", given=site.text("audited", deadline=SOON))["job"]
        bundle = site.folder / "bundle.jsonl"
        exported = site.run("ledger", "export", str(bundle))
        assert (exported.returncode, exported.stdout) == (0, "")
        assert f"lines in {bundle}" in exported.stderr
        forged = site.folder / "forged.jsonl"
        lines = bundle.read_text().splitlines(keepends=True)
        forged.write_text(
            "".join(
                line.replace("succeeded in aws", "succeeded on aws") if job in line else line
                for line in lines
            )
        )
        assert site.json("ledger", "verify")["holds"] is True
        kept = idle.run("ledger", "verify", "--bundle", str(bundle))
        assert (kept.returncode, kept.stdout.splitlines()[-1]) == (0, "the ledger holds")
        broken = idle.call("ledger", "verify", "--bundle", str(forged))
        assert broken.returncode == 1
        assert f"does not hold {job}" in broken.stdout
        absent = idle.call("ledger", "verify", "--bundle", str(idle.folder / "absent"))
        assert absent.returncode == 2
        assert "absent" in absent.stderr

    def test_what_the_ledger_commands_refuse(self, site: Site) -> None:
        """A path that cannot be written, an unknown job."""
        export = site.call("ledger", "export", "/proc/bundle")
        assert export.returncode == 2
        assert export.stderr.startswith("error: /proc/bundle: ")
        unknown = site.call("ledger", "show", "no-such-job")
        assert unknown.returncode == 2
        assert "no job job-default-no-such-job" in unknown.stderr


class TestProcesses:
    def test_a_worker_beside_the_first_ends_well(self, site: Site) -> None:
        """SIGTERM: it hands back what it has and leaves with 0, its words on standard error."""
        worker = site.start(
            "worker", LOWTIDE_WORKER__GRACEFUL_SHUTDOWN="5s", LOWTIDE_LOG_LEVEL="error"
        )
        assert worker.stderr
        told = worker.stderr.readline()
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
        assert worker.returncode == 0, err
        assert told == "worker on default: 3 regions\n"
        assert (out, err) == ("", "worker stopped\n")

    def test_set_up_alone(self, site: Site) -> None:
        """What the one-shot container of a cluster does."""
        done = site.run("worker", "--setup-only")
        assert (done.returncode, done.stdout) == (0, "")
        assert "search attributes, schedules and watchers" in done.stderr

    def test_dev_does_not_join_another_server(self, site: Site, tmp_path: Path) -> None:
        """Its port is taken: it says so, and leaves with 3."""
        done = site.run("dev", "--state", str(tmp_path), "--port", str(site.port))
        assert done.returncode == 3
        assert f"port {site.port} on 127.0.0.1 is taken" in done.stderr

    def test_temporal_out_of_reach(self, idle: Site) -> None:
        """Exit code 3, with the address and what would start a server."""
        done = idle.run("list")
        assert (done.returncode, done.stdout) == (3, "")
        [line] = done.stderr.splitlines()
        assert line.startswith(f"error: TEMPORAL_ADDRESS: nothing usable at {idle.address}")
        assert "`lowtide dev` starts a local server" in line

    def test_a_reader_that_leaves_early_breaks_nothing(self, site: Site) -> None:
        """``lowtide regions | head -1``: no traceback."""
        regions = site.start("regions")
        assert regions.stdout
        assert regions.stderr
        assert regions.stdout.readline()
        regions.stdout.close()
        assert regions.wait(timeout=60) in {0, 1}
        assert regions.stderr.read() == ""
        regions.stderr.close()
