"""A way to stop a process where it opens a file: nothing in the product knows of it."""

from __future__ import annotations

import os
from pathlib import Path


class Held:
    """A named pipe in a file's place: who opens it to write waits until it is released."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        self._path = path
        self._reader: int | None = None

    def release(self) -> None:
        """Let whoever waits go on."""
        self._reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def close(self) -> None:
        """Stop reading; who writes after this is told that nobody does."""
        if self._reader is not None:
            os.close(self._reader)
