"""The SDK as a program meets it: a real server, a real worker, real processes."""

from __future__ import annotations

import asyncio
import typing
from datetime import UTC, datetime, timedelta

import pytest

import lowtide
from domain.errors import DeadlinePassed, InvalidInput, ManifestTooLarge
from domain.messages import JobStatus
from lowtide import (
    Client,
    JobHandle,
    JobNotFound,
    JobRefused,
    JobTerminated,
    ManifestConflict,
    NoWorker,
    Outcome,
    OverrideRefused,
    Phase,
    RerunRefused,
    Unreachable,
)
from tests.clients.site import SOON, Site
from tests.domain.faults import AT_ADMISSION, Fault
from tests.integration.stack import eventually
from workers.devserver import LOOPBACK, dev_server, free_port
from workers.registration import register_search_attributes


@pytest.fixture
async def client(site: Site) -> Client:
    return await Client.connect(site.address)


async def until(job: JobHandle, *phases: Phase) -> JobStatus:
    """The job's status once it is in one of these phases."""

    async def there() -> bool:
        return (await job.status()).phase in phases

    await eventually(there)
    return await job.status()


class TestTheFace:
    def test_what_is_exported(self) -> None:
        """What users import stays there; what is added to it is added on purpose."""
        assert sorted(lowtide.__all__) == lowtide.__all__
        assert {
            *("Client", "JobHandle", "JobManifest", "JobResult", "JobStatus", "JobSummary"),
            *("Flexibility", "InputData", "Resources", "Outcome", "Phase", "Placement"),
            *("LowtideError", "ClientError", "InvalidManifest", "ManifestConflict"),
            *("JobNotFound", "JobRefused", "JobTerminated", "NoWorker", "OverrideRefused"),
            *("RerunRefused", "Unreachable", "read_manifest"),
        } == set(lowtide.__all__)

    @pytest.mark.parametrize("name", lowtide.__all__)
    def test_each_name_is_there_with_its_meaning(self, name: str) -> None:
        """And says what it is."""
        assert getattr(lowtide, name).__doc__

    @pytest.mark.parametrize(
        "function",
        [
            *(Client.connect, Client.submit, Client.job, Client.list, JobHandle.status),
            *(JobHandle.wait, JobHandle.run_now, JobHandle.cancel, JobHandle.change_deadline),
        ],
    )
    def test_it_is_typed(self, function: typing.Any) -> None:
        """Every argument and result of the public methods has a type that resolves."""
        hints = typing.get_type_hints(function)
        assert "return" in hints
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        assert set(arguments) - {"self", "cls"} <= set(hints)

    def test_every_error_is_one_of_ours(self) -> None:
        """One ``except LowtideError`` is enough."""
        errors = [item for item in vars(lowtide).values() if isinstance(item, type)]
        assert all(
            issubclass(item, lowtide.LowtideError) for item in errors if issubclass(item, Exception)
        )


class TestAJob:
    async def test_submit_wait_and_status(self, client: Client, site: Site) -> None:
        """A job without time to wait runs at once, and its outcome is told."""
        job = await client.submit(site.manifest("sdk-once", deadline=f'"{SOON}"'))
        assert job.id == "job-default-sdk-once"
        result = await job.wait()
        assert (result.outcome, result.deadline_met, result.attempts) == (
            Outcome.SUCCEEDED,
            True,
            1,
        )
        status = await client.job("sdk-once").status()
        assert (status.phase, status.outcome) == (Phase.FINISHED, Outcome.SUCCEEDED)
        assert result.region == status.run.region if status.run else False

    async def test_the_same_manifest_attaches_and_never_runs_twice(
        self, client: Client, site: Site
    ) -> None:
        """While the job is open, and when it is closed."""
        manifest = site.manifest("sdk-same", deadline=f'"{SOON}"')
        jobs = [await client.submit(manifest), await client.submit(manifest)]
        results = [await job.wait() for job in jobs]
        results.append(await (await client.submit(manifest)).wait())
        assert results[0] == results[1] == results[2]
        with site.store() as store:
            runs = [event for event in store.events(jobs[0].id) if event.kind == "dispatch"]
        assert len(runs) == 1

    async def test_a_job_is_found_by_its_manifest_after_its_deadline(
        self, client: Client, site: Site
    ) -> None:
        """A record outlives its deadline: who asks late gets the outcome, and starts nothing."""
        manifest = site.manifest("sdk-old", deadline='"+5s"')
        result = await (await client.submit(manifest)).wait()

        async def late() -> bool:
            return datetime.now(UTC) > manifest.deadline

        await eventually(late)
        assert await (await client.submit(manifest)).wait() == result
        with pytest.raises(DeadlinePassed):
            await client.submit(manifest, rerun=True)

    async def test_a_failed_job_runs_again_when_asked(self, client: Client, site: Site) -> None:
        """Only then; and one that succeeded never does."""
        marker = site.folder / "second-time"
        manifest = site.manifest(
            "sdk-failing",
            deadline='"+60s"',
            command=f'["sh", "-c", "test -e {marker} || {{ touch {marker}; exit 3; }}"]',
            flexibility="urgent",
        )
        first = await (await client.submit(manifest)).wait()
        assert (first.outcome, first.attempts) == (Outcome.FAILED, 1)
        assert "exit code 3" in first.message
        assert (await (await client.submit(manifest)).wait()).outcome is Outcome.FAILED
        again = await client.submit(manifest, rerun=True)
        assert (await again.wait()).outcome is Outcome.SUCCEEDED
        with pytest.raises(RerunRefused, match="only a failed, cancelled or terminated job"):
            await client.submit(manifest, rerun=True)

    async def test_the_list_is_narrowed_by_a_filter(self, client: Client, site: Site) -> None:
        """Each line has the plan in it."""
        await client.submit(site.manifest("sdk-listed", tenant="lister", residency="germany"))

        async def listed() -> bool:
            return bool(
                [item async for item in client.list('Tenant="lister" AND Phase="Deferred"')]
            )

        await eventually(listed)
        [summary] = [item async for item in client.list('Tenant="lister"')]
        assert (summary.job, summary.region) == ("job-lister-sdk-listed", "aws:eu-central-1")
        assert summary.planned_start
        assert summary.deadline
        assert summary.carbon_planned_g
        assert summary.carbon_avoided_g
        # The clean hours have a tenth of the intensity.
        baseline = summary.carbon_planned_g + summary.carbon_avoided_g
        assert summary.carbon_planned_g == pytest.approx(baseline / 10, rel=0.1)


class TestOverrides:
    async def test_run_now(self, client: Client, site: Site) -> None:
        """A deferred job starts at once; when it runs there is nothing left to hurry."""
        job = await client.submit(site.manifest("sdk-hurry", command='["sleep", "20"]'))
        assert (await job.status()).phase is Phase.DEFERRED
        await job.run_now("results are needed", actor="ada")
        await until(job, Phase.RUNNING)
        with pytest.raises(OverrideRefused, match="no effect on a job that is Running"):
            await job.run_now("still needed")
        await job.cancel("test is over")
        assert (await job.wait()).outcome is Outcome.CANCELLED

    async def test_cancel(self, client: Client, site: Site) -> None:
        """The outcome says who and why; a finished job cannot be cancelled."""
        job = await client.submit(site.manifest("sdk-cancelled"))
        await job.cancel("wrong sample", actor="ada")
        result = await job.wait()
        assert (result.outcome, result.attempts) == (Outcome.CANCELLED, 0)
        assert result.message == "cancelled by ada: wrong sample"
        with pytest.raises(OverrideRefused, match="Finished"):
            await job.cancel("again")

    async def test_change_deadline(self, client: Client, site: Site) -> None:
        """The job is planned again by it: a nearer one leaves no time for the clean hours."""
        job = await client.submit(site.manifest("sdk-nearer", command='["sleep", "5"]'))
        before = await job.status()
        nearer = datetime.now(UTC) + timedelta(seconds=60)
        await job.change_deadline(nearer, "the meeting moved")
        after = await until(job, Phase.DEFERRED, Phase.RUNNING, Phase.QUEUED, Phase.DISPATCHING)
        assert after.deadline == nearer < before.deadline
        await eventually(lambda: _starts_before(job, nearer))
        with pytest.raises(OverrideRefused, match="is not after now"):
            await job.change_deadline(datetime.now(UTC) - timedelta(seconds=1), "too late")
        with pytest.raises(InvalidInput, match="with a time zone"):
            await job.change_deadline(datetime(2030, 1, 1), "no zone")  # noqa: DTZ001
        await job.cancel("test is over")


async def _starts_before(job: JobHandle, instant: datetime) -> bool:
    placement = (await job.status()).placement
    return placement is not None and placement.cell.start < instant


class TestErrors:
    @pytest.mark.parametrize("fault", AT_ADMISSION.values(), ids=AT_ADMISSION)
    async def test_a_refusal_says_what_to_change_and_takes_nothing(
        self, client: Client, site: Site, fault: Fault
    ) -> None:
        """No row, no chain, no room, and the name is still free."""
        manifest = lowtide.read_manifest(
            fault.text.replace("nightly", f"sdk-{abs(hash(fault.text))}"), now=datetime.now(UTC)
        )
        with pytest.raises(JobRefused) as raised:
            await client.submit(manifest)
        assert str(raised.value).startswith(f"{fault.field}: {fault.value}")
        assert fault.remedy in str(raised.value)
        with site.store() as store:
            assert store.record(manifest.workflow_id) is None
            assert store.events(manifest.workflow_id) == ()

    async def test_a_refused_name_is_still_free(self, client: Client, site: Site) -> None:
        """The mended manifest is taken under it, and the faulty one then conflicts."""
        faulty = site.manifest("sdk-mended", residency="moon")
        with pytest.raises(JobRefused):
            await client.submit(faulty)
        job = await client.submit(site.manifest("sdk-mended"))
        assert (await job.status()).phase is Phase.DEFERRED
        with pytest.raises(ManifestConflict, match="job-default-sdk-mended"):
            await client.submit(faulty)

    async def test_what_is_wrong_with_the_manifest_alone(self, client: Client, site: Site) -> None:
        """Also one that was built field by field."""
        manifest = site.manifest("sdk-faulty")
        with pytest.raises(ManifestTooLarge):
            await client.submit(manifest.model_copy(update={"command": ("x" * 30_000,)}))
        with pytest.raises(DeadlinePassed):
            await client.submit(manifest.model_copy(update={"deadline": datetime.now(UTC)}))
        assert not await client.job("sdk-faulty").exists()

    async def test_an_unknown_job(self, client: Client) -> None:
        """Whatever is asked of it."""
        job = client.job("no-such-job")
        for asked in (job.status(), job.wait(), job.cancel("x"), job.run_now("x")):
            with pytest.raises(JobNotFound, match="no job job-default-no-such-job"):
                await asked

    async def test_a_job_that_was_terminated(self, client: Client, site: Site) -> None:
        """It has no outcome; it may run again."""
        manifest = site.manifest("sdk-terminated")
        job = await client.submit(manifest)
        await client.temporal.get_workflow_handle(job.id).terminate()
        with pytest.raises(JobTerminated, match="--rerun"):
            await job.wait()
        again = await client.submit(manifest, rerun=True)
        assert (await again.status()).phase is Phase.DEFERRED

    async def test_a_server_out_of_reach(self) -> None:
        """The error names the address, and what would start one."""
        address = f"{LOOPBACK}:{free_port()}"
        with pytest.raises(Unreachable, match=rf"{address}.*`lowtide dev`"):
            await Client.connect(address)

    async def test_no_worker(self, tmp_path: object, site: Site) -> None:
        """Temporal has the job and says so; whose own patience is shorter keeps it."""
        async with dev_server(tmp_path) as server:  # type: ignore[arg-type]
            await register_search_attributes(server.client)
            client = Client(server.client, answer_within=timedelta(seconds=1))
            manifest = site.manifest("sdk-nobody")
            with pytest.raises(NoWorker, match=r"job-default-sdk-nobody .* within 1 s"):
                await client.submit(manifest)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.submit(site.manifest("sdk-impatient"))
            job = client.job("sdk-nobody")
            assert await job.exists()
            for asked in (job.status(), job.cancel("x")):
                with pytest.raises(NoWorker):
                    await asked
