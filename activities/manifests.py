"""Manifests by their hash: kept as ledger blobs, brought there from the workflow's first event."""

from __future__ import annotations

import asyncio
import functools

from temporalio import activity
from temporalio.client import Client

from activities.errors import ManifestUnknown
from domain.manifest import JobManifest
from domain.messages import JobInput
from domain.ports import Ledger


class Manifests:
    """The manifest stands once in a job's history, so steps are given its hash and ask here."""

    def __init__(self, ledger: Ledger, client: Client) -> None:
        """Hold the ledger's blobs and the client that reads a workflow's first event."""
        self._ledger = ledger
        self._client = client
        self._stored = functools.lru_cache(maxsize=4096)(self._read)

    async def admitted(self, sha256: str) -> JobManifest:
        """The manifest of an admitted job."""
        return await asyncio.to_thread(self._stored, sha256)

    async def submitted(self, sha256: str) -> JobManifest:
        """The manifest of the workflow that runs this activity, from its input.

        Raises:
            ManifestUnknown: the input's manifest has another hash.
        """
        info = activity.info()
        handle = self._client.get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        )
        async for event in handle.fetch_history_events(page_size=1):
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            [job] = await self._client.data_converter.decode(payloads, [JobInput])
            if job.manifest.sha256 == sha256:
                return JobManifest.model_validate(job.manifest)
            break
        raise ManifestUnknown(sha256)

    def _read(self, sha256: str) -> JobManifest:
        content = self._ledger.blob(sha256)
        if content is None:
            raise ManifestUnknown(sha256)
        return JobManifest.model_validate_json(content)
