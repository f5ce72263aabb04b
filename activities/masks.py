"""What others say, without the secrets that we sent them."""

from __future__ import annotations

import json
from collections.abc import Iterable

MASK = "***"


def masked(text: str, secrets: Iterable[str]) -> str:
    """``text`` with ``***`` for each secret, also where JSON writes it with escapes."""
    for secret in filter(None, secrets):
        for is_ascii in (True, False):
            text = text.replace(json.dumps(secret, ensure_ascii=is_ascii)[1:-1], MASK)
        text = text.replace(secret, MASK)
    return text
