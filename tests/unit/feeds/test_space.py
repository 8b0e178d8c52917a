"""The reserve that strangers' feeds leave to our own appends."""

from __future__ import annotations

import pytest

from protozorfs.feeds.space import CHECK_INTERVAL, MAX_FILL_RATE, SpaceGuard, reserve_bytes
from protozorfs.store.files import FreeSpace

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("total", "reserve"),
    [
        (100 * MIB, 10 * MIB),  # 256 MiB would be more than there is
        (2560 * MIB, 256 * MIB),
        (4096 * MIB, 256 * MIB),
        (100 * 1024 * MIB, 5 * 1024 * MIB),
    ],
)
def test_reserve(total: int, reserve: int) -> None:
    assert reserve_bytes(total) == reserve


def test_it_looks_again_before_the_room_can_be_used_up() -> None:
    looks = 0
    free = 20 * MIB

    def look() -> FreeSpace:
        nonlocal looks
        looks += 1
        return FreeSpace(free, 100 * MIB)

    guard = SpaceGuard(look)
    soon = 10 * MIB / MAX_FILL_RATE
    assert guard.may_fetch(0.0)
    free = 5 * MIB
    assert guard.may_fetch(soon / 2)
    assert not guard.may_fetch(soon)
    free = 20 * MIB
    assert not guard.may_fetch(soon + CHECK_INTERVAL / 2), "it does not look all the time"
    assert guard.may_fetch(soon + CHECK_INTERVAL)
    assert looks == 3


def test_with_much_room_it_looks_once_a_second() -> None:
    free = 1000 * 1024 * MIB
    guard = SpaceGuard(lambda: FreeSpace(free, 2000 * 1024 * MIB))
    assert guard.may_fetch(0.0)
    free = 0
    assert guard.may_fetch(CHECK_INTERVAL - 0.1)
    assert not guard.may_fetch(CHECK_INTERVAL)


def test_it_tells_once_that_what_was_refused_may_go_on() -> None:
    free = 5 * MIB
    guard = SpaceGuard(lambda: FreeSpace(free, 100 * MIB))
    assert not guard.has_resumed(0.0), "nothing was refused"
    assert not guard.may_fetch(0.0)
    assert not guard.has_resumed(1.0)
    free = 20 * MIB
    assert not guard.has_resumed(1.5)
    assert guard.has_resumed(2.0)
    assert not guard.has_resumed(3.0)
