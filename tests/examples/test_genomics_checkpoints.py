"""Checkpoints: what is damaged or of something else is never gone on from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.genomics.checkpoints import FORMAT, Checkpoints, Unusable, sealed, unsealed
from examples.genomics.objects import FileLocation

STATE = b'{"next_read":7}'


@given(state=st.binary(max_size=200), work=st.text(max_size=20))
def test_a_state_is_kept_as_it_is(state: bytes, work: str) -> None:
    """Line ends in it too."""
    assert state == unsealed(sealed(state, work), work)


@given(data=st.data())
def test_no_damage_goes_unseen(data: st.DataObject) -> None:
    """Cut short, or with any byte changed, it is refused, or its state is unharmed."""
    whole = sealed(STATE, "this")
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(st.integers(1, 255))
    for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ changed]) + whole[at + 1 :]):
        try:
            state = unsealed(damaged, "this")
        except Unusable:
            continue
        assert state == STATE
        assert damaged.endswith(STATE)


@pytest.mark.parametrize("data", [b"", b"[]\n", b"7\n" + STATE, b"\xff\xfe\n", b"{}\n" + STATE])
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    """Whatever stands there."""
    with pytest.raises(Unusable):
        unsealed(data, "this")


def test_other_work_and_another_format_are_refused() -> None:
    """Sound, and still not to be gone on from."""
    with pytest.raises(Unusable, match="other work"):
        unsealed(sealed(STATE, "that"), "this")
    newer = sealed(STATE, "this").replace(
        f'"format":{FORMAT}'.encode(), f'"format":{FORMAT + 1}'.encode()
    )
    with pytest.raises(Unusable, match="format"):
        unsealed(newer, "this")


def test_the_latest_attempt_with_a_sound_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    """Later attempts than one's own are none of one's business."""
    location = FileLocation(tmp_path)
    for attempt, state in ((1, b"one"), (2, b"two"), (4, b"four")):
        Checkpoints(location, attempt, "this").save(state)
    assert Checkpoints(location, 3, "this").newest() == b"two"
    location.replace("attempt-2.checkpoint", sealed(b"two", "this")[:-1])
    assert Checkpoints(location, 3, "this").newest() == b"one"
    location.replace("attempt-1.checkpoint", b"")
    assert Checkpoints(location, 3, "this").newest() is None


def test_attempts_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """One that is still alive somewhere must not set the next one back."""
    location = FileLocation(tmp_path)
    Checkpoints(location, 2, "this").save(b"far")
    Checkpoints(location, 1, "this").save(b"near")
    assert Checkpoints(location, 3, "this").newest() == b"far"
