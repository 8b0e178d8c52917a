"""The reserve that strangers' feeds leave to our own appends."""

from __future__ import annotations

import pytest

from protozorfs.feeds.space import CHECK_INTERVAL, SpaceGuard, reserve_bytes
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


def test_it_looks_again_after_a_second() -> None:
    free = 20 * MIB
    guard = SpaceGuard(lambda: FreeSpace(free, 100 * MIB))
    assert guard.may_fetch(0.0)
    free = 5 * MIB
    assert guard.may_fetch(CHECK_INTERVAL / 2)
    assert not guard.may_fetch(CHECK_INTERVAL)
    free = 20 * MIB
    assert guard.may_fetch(2 * CHECK_INTERVAL)
