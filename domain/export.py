"""The ledger as a bundle: JSON lines that anyone can verify without our store.

The first line names the form. Then ``root``, ``head`` and ``record`` lines, and for each job its
``event`` lines, each followed by the ``blob`` lines that it names and no line before it brought.
An event is given as the very text that was hashed, byte for byte even where it is damaged.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from domain.audit import Auditable, hashes_in

FORM = "lowtide.bundle/1"


def export_lines(ledger: Auditable) -> Iterator[str]:
    """Every line of the bundle, without line ends. The ledger may be in use meanwhile."""
    roots, heads, records = ledger.roots(), ledger.heads_since_last_root(), ledger.records()
    yield _line("bundle", form=FORM)
    for root in roots:
        recorded_at = root.recorded_at.isoformat()
        yield _line("root", **(dataclasses.asdict(root) | {"recorded_at": recorded_at}))
    for head in heads:
        yield _line("head", **dataclasses.asdict(head))
    for record in records:
        yield _line("record", **dataclasses.asdict(record))
    brought: set[str] = set()
    covered = {head.job: None for root in roots for head in root.heads}
    manifests = covered | {record.job: record.manifest_sha256 for record in records}
    for job, manifest in sorted(manifests.items()):
        yield from _blob_lines(ledger, manifest, brought)
        for recorded, content in ledger.stored_events(job):
            text = content.decode(errors="surrogateescape")
            yield _line("event", job=job, hash=recorded, content=text)
            yield from _blob_lines(ledger, _parsed(text), brought)


def _blob_lines(ledger: Auditable, data: object, brought: set[str]) -> Iterator[str]:
    """Lines for the blobs that ``data`` names, but for those that were brought before."""
    wanted = [sha256 for sha256 in dict.fromkeys(hashes_in(data)) if sha256 not in brought]
    contents = ledger.blobs(wanted)
    for sha256 in filter(contents.__contains__, wanted):
        brought.add(sha256)
        content = base64.b64encode(contents[sha256]).decode()
        yield _line("blob", sha256=sha256, content=content)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _line(kind: str, **fields: Any) -> str:
    return json.dumps({"line": kind, **fields})
