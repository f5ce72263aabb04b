"""A decision as the ledger keeps it: the event's data, the blobs it names, and the way back.

What one decision shares with the next (forecasts, prices, policy, catalogue, methodology, learned
regret) is stored once under its content hash and named by it; what is its own stands in the event.
So ``inputs_of`` gives anyone with the ledger exactly what the decision saw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from domain.audit import hashes_in
from domain.decision import ENGINE_VERSION, DecisionInputs, SameWorld, World
from domain.energy import Methodology
from domain.errors import MissingBlob
from domain.forecast import Forecast
from domain.job import Cell, Counterfactual, DecisionReason, Payload, Placement
from domain.manifest import JobManifest
from domain.policy import Policy
from domain.prices import parse_prices
from domain.regions import parse_catalogue
from domain.regret import Regret
from domain.room import RoomView

Blobs = Callable[[Iterable[str]], Mapping[str, bytes]]
"""The contents of those hashes that there are, by hex SHA-256: as ``Ledger.blobs``."""

_WORLDS_HELD = 4
"""A refresh leaves decisions of the world before it still under way; older ones are done."""


def decision_data(
    inputs: DecisionInputs, placement: Placement, reason: DecisionReason
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The ``decision`` event's data, and the blobs that it names by hash.

    What the inputs' world comes to is worked out once for each ``World`` object.
    """
    world_hashes, world_blobs = _world_record(SameWorld(inputs.world))
    manifest, room = inputs.manifest.canonical(), inputs.room.canonical()
    blobs = {**world_blobs, _sha256(manifest): manifest, _sha256(room): room}
    data = {
        "engine": ENGINE_VERSION,
        "reason": reason.value,
        "now": inputs.now.isoformat(),
        "deadline": inputs.deadline.isoformat(),
        "submitted_at": inputs.submitted_at and inputs.submitted_at.isoformat(),
        "time_scale": inputs.world.time_scale,
        "start_now": inputs.start_now,
        "reclaims": inputs.reclaims,
        "work_done_s": inputs.work_done.total_seconds(),
        "checkpoint_region": inputs.checkpoint_region,
        "incumbent": _dump(inputs.incumbent),
        "counterfactual": _dump(inputs.counterfactual),
        "excluded_regions": list(inputs.excluded_regions),
        "inputs": {"manifest": _sha256(manifest), "room": _sha256(room), **world_hashes},
        "placement": placement_data(placement),
    }
    return data, blobs


def inputs_of(data: Mapping[str, Any], blobs: Blobs) -> DecisionInputs:
    """What the recorded decision saw: the inverse of ``decision_data``. Asks for blobs once.

    Decisions of one world get one ``World`` object, so that what ``decide`` derives from it is
    derived once.

    Raises:
        MissingBlob: an input's content is gone.
    """
    hashes, incumbent, counterfactual = data["inputs"], data["incumbent"], data["counterfactual"]
    submitted_at = data["submitted_at"]
    contents = blobs(hashes_in(hashes))

    def content(sha256: str) -> bytes:
        if sha256 not in contents:
            raise MissingBlob(sha256)
        return contents[sha256]

    return DecisionInputs(
        manifest=JobManifest.model_validate_json(content(hashes["manifest"])),
        world=_world(_WorldContents.named(hashes, content), float(data["time_scale"])),
        room=RoomView.from_json(json.loads(content(hashes["room"]))),
        now=datetime.fromisoformat(data["now"]),
        deadline=datetime.fromisoformat(data["deadline"]),
        submitted_at=submitted_at and datetime.fromisoformat(submitted_at),
        start_now=data["start_now"],
        reclaims=data["reclaims"],
        incumbent=incumbent and Cell.model_validate(incumbent),
        counterfactual=counterfactual and Counterfactual.model_validate(counterfactual),
        excluded_regions=tuple(data["excluded_regions"]),
        work_done=timedelta(seconds=data.get("work_done_s", 0)),
        checkpoint_region=data.get("checkpoint_region"),
    )


def placement_of(data: Mapping[str, Any]) -> Placement:
    """The placement that a recorded decision chose."""
    return Placement.model_validate(data["placement"])


def placement_data(placement: Placement) -> dict[str, Any]:
    """A placement as it stands in a recorded decision; ``placement_of`` is the inverse."""
    return placement.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class _WorldContents:
    """A world's parts as bytes. Time scale apart, which stands in the event, it is the world."""

    forecasts: tuple[bytes, ...]
    prices: bytes
    policy: bytes
    catalogue: bytes
    methodology: bytes
    regret: bytes | None
    """``None`` where nothing was learned; then the event does not name it."""

    @classmethod
    def of(cls, world: World) -> _WorldContents:
        return cls(
            forecasts=tuple(forecast.canonical() for forecast in world.forecasts),
            prices=world.prices.canonical(),
            policy=world.policy.canonical(),
            catalogue=world.catalogue.source_text.encode(),
            methodology=world.methodology.canonical(),
            regret=None if world.regret is None else world.regret.canonical(),
        )

    @classmethod
    def named(cls, hashes: Mapping[str, Any], content: Callable[[str], bytes]) -> _WorldContents:
        return cls(
            forecasts=tuple(map(content, hashes["forecasts"])),
            **{name: content(hashes[name]) for name in _SINGLE_PARTS},
            regret=content(hashes["regret"]) if "regret" in hashes else None,
        )

    def hashes(self) -> dict[str, Any]:
        single = {name: _sha256(content) for name, content in self._single.items()}
        return {"forecasts": list(map(_sha256, self.forecasts)), **single}

    def blobs(self) -> dict[str, bytes]:
        contents = (*self.forecasts, *self._single.values())
        return {_sha256(content): content for content in contents}

    @property
    def _single(self) -> dict[str, bytes]:
        learned = {} if self.regret is None else {"regret": self.regret}
        return {name: getattr(self, name) for name in _SINGLE_PARTS} | learned


_SINGLE_PARTS = ("prices", "policy", "catalogue", "methodology")
"""Those that every world has."""


@lru_cache(maxsize=_WORLDS_HELD)
def _world_record(key: SameWorld) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
    contents = _WorldContents.of(key.world)
    return contents.hashes(), contents.blobs()


@lru_cache(maxsize=_WORLDS_HELD)
def _world(contents: _WorldContents, time_scale: float) -> World:
    """The world of these contents; the cache goes by content, so it cannot mislead."""
    return World(
        forecasts=tuple(Forecast.from_json(json.loads(item)) for item in contents.forecasts),
        prices=parse_prices(*json.loads(contents.prices)),
        policy=Policy.model_validate_json(contents.policy),
        catalogue=parse_catalogue(contents.catalogue.decode()),
        methodology=Methodology.from_json(json.loads(contents.methodology)),
        regret=None if contents.regret is None else Regret.from_json(json.loads(contents.regret)),
        time_scale=time_scale,
    )


def _dump(value: Payload | None) -> dict[str, Any] | None:
    return None if value is None else value.model_dump(mode="json")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
