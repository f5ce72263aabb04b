"""What a rule would have a job do: one run, or several with nothing between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.chunk_placement import PlannedChunk
from domain.room import Place, hours_touched, stretches


@dataclass(frozen=True, slots=True)
class Stretch:
    """A machine that is held for a job, start-up included."""

    place: Place
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """Stretches in order of time; the job is cut at the end of each but the last."""

    stretches: tuple[Stretch, ...]
    over_room: bool = False

    @classmethod
    def of_chunks(cls, chunks: Sequence[PlannedChunk]) -> Plan:
        """Of planned chunks, in order of time; those that follow at once in one place are one
        run.
        """
        found: list[Stretch] = []
        for chunk in chunks:
            place = chunk.region, chunk.capacity_type
            end = chunk.start + timedelta(seconds=chunk.duration_s)
            if found and (found[-1].place, found[-1].end) == (place, chunk.start):
                found[-1] = replace(found[-1], end=end)
            else:
                found.append(Stretch(place, chunk.start, end))
        return cls(tuple(found))

    @property
    def first(self) -> Stretch:
        """What is acted on; the rest is decided again when its time comes."""
        return self.stretches[0]

    @property
    def cut_at(self) -> datetime | None:
        """When the first run is stopped; ``None``: it runs to its own end."""
        return self.first.end if len(self.stretches) > 1 else None

    def room(self) -> Iterator[tuple[Place, range]]:
        """The hours that it holds, each once in a place."""
        hours: dict[Place, list[int]] = {}
        for item in self.stretches:
            touched = hours_touched(item.start, item.end - item.start)
            hours.setdefault(item.place, []).extend(touched)
        for place, touched_by_all in hours.items():
            for stretch in stretches(touched_by_all):
                yield place, stretch
