from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from activities.masks import MASK, masked

SECRETS = st.text(st.characters(exclude_characters=MASK), min_size=1)


@given(SECRETS, SECRETS)
def test_no_secret_is_left_however_it_is_written(one: str, other: str) -> None:
    """Plain, or as JSON has it, with or without escapes for what is not ASCII."""
    told = [json.dumps([one, other]), json.dumps([one, other], ensure_ascii=False), one + other]
    left = masked(" ".join(told), [one, other])
    assert one not in left
    assert other not in left
    assert json.dumps(one)[1:-1] not in left


def test_what_is_no_secret_is_left_as_it_is() -> None:
    """An empty secret, of a variable that was never set, is none."""
    assert masked("the key is refused", [""]) == "the key is refused"
    assert masked('you sent "k-1"', ["k-1"]) == 'you sent "***"'
