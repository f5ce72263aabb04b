"""Where jobs run, as the settings say: local processes, or AWS Batch and GKE by region."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from activities.compute.local import LocalCompute, Reclaims
from domain.ports import ComputeBackend
from workers.settings import Settings


@dataclass(frozen=True, slots=True)
class ComputeSite:
    """Where jobs run, and how to close what it holds."""

    backend: ComputeBackend
    close: Callable[[], Awaitable[None]]


def compute_site(settings: Settings, regions: Iterable[str]) -> ComputeSite:
    """What runs jobs in ``regions``, those that the policy enables.

    Raises:
        InvalidSettings: one of them has neither queues nor a cluster.
    """
    if settings.compute.kind == "local":
        return ComputeSite(_local(settings), _nothing_to_close)
    # The clouds' libraries take a second to load: who runs nothing there does not wait for them.
    from workers.cloud_compute import cloud_site  # noqa: PLC0415

    backend, close = cloud_site(settings, settings.compute, sorted(regions))
    return ComputeSite(backend, close)


def _local(settings: Settings) -> LocalCompute:
    rules = (
        Reclaims(item.pattern, item.attempts, item.after_s, item.grace_s)
        for item in settings.reclaims
    )
    return LocalCompute(settings.state_dir / "runs", reclaims=tuple(rules))


async def _nothing_to_close() -> None:
    """Local processes are looked after by their supervisors."""
