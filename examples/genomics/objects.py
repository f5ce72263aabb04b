"""Where a run keeps what must outlive it: a folder, a bucket of S3 or of Google Cloud Storage.

A ``Location`` stands for a URI and holds objects by name. Its three methods are all that a job
needs; ``create`` is the conditional write by which one of several attempts commits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

SCHEMES = ("file", "s3", "gs")


class ObjectsUnavailable(Exception):
    """The storage did not answer, or refused."""


class UnknownLocation(ValueError):
    """A URI that no adapter here can reach."""


class Location(Protocol):
    """Objects under one URI."""

    def read(self, name: str) -> bytes | None:
        """An object's bytes; ``None`` where there is none."""

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, whole or not at all; whether there was none.

        ``False`` is also the answer where the storage took the object, its answer was lost and the
        request was sent again: read the object to know whose it is.
        """


def location(uri: str, region: str = "") -> Location:
    """What a URI stands for; ``region`` as ``aws:eu-north-1``.

    Raises:
        UnknownLocation: another scheme, or no bucket or path.
    """
    parts = urlsplit(uri)
    place, prefix = parts.netloc, parts.path.strip("/")
    # The clouds' packages are heavy: a run imports only what it needs.
    match parts.scheme:
        case "file" if place in {"", "localhost"} and prefix:
            return FileLocation(Path(unquote(parts.path)))
        case "s3" if place:
            from examples.genomics.objects_s3 import S3Location  # noqa: PLC0415 - see above

            return S3Location(place, prefix, region)
        case "gs" if place:
            from examples.genomics.objects_gs import GsLocation  # noqa: PLC0415 - see above

            return GsLocation(place, prefix)
    raise UnknownLocation(f"{uri!r}: a URI of {', '.join(SCHEMES)} with a bucket or path")


class FileLocation:
    """A folder, for the local backend: one machine, one file system."""

    def __init__(self, folder: Path) -> None:
        """Hold the folder, which need not be there yet."""
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        """An object's bytes; ``None`` where there is none."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ObjectsUnavailable(str(error)) from error

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with self._written(name, data) as partial:
            partial.replace(self._folder / name)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, whole or not at all; whether there was none."""
        with self._written(name, data) as partial:
            try:
                # A link never replaces, and what it links is whole.
                (self._folder / name).hardlink_to(partial)
            except FileExistsError:
                return False
            return True

    @contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[Path]:
        """The data in a file of their own beside the object, as long as the block runs."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file, path = tempfile.mkstemp(prefix=f".{name}.", dir=self._folder)
            partial = Path(path)
            try:
                with os.fdopen(file, "wb") as content:
                    content.write(data)
                    content.flush()
                    os.fsync(file)
                yield partial
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise ObjectsUnavailable(str(error)) from error
