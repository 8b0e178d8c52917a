"""What `scripts/soak` counts: lines that are gone, torn or changed are never taken for right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from scripts.soaking import MAX_TEXT_BYTES, Node, Reader, line, slope

if TYPE_CHECKING:
    from tests.namespaces import Host

LINES = [line(number) for number in range(20)]


def counted(data: bytes, appended: int = len(LINES), piece: int = 7) -> tuple[int, int, int, int]:
    """Lines, lost, torn, wrong of a reader that is shown this in pieces."""
    node = Node("reader", Path("/nowhere"), cast("Host", None), [], random.Random(1))
    reader = Reader(node)
    for at in range(0, len(data), piece):
        reader.take(data[at : at + piece])
    reader.finish(appended)
    return reader.lines, reader.lost, reader.torn, reader.wrong


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_all_lines_are_right(piece: int) -> None:
    assert counted(b"".join(LINES), piece=piece) == (20, 0, 0, 0)
    assert all(len(each) <= MAX_TEXT_BYTES + 20 for each in LINES)
    assert len(set(map(len, LINES))) > 10


def test_a_line_that_is_missing_is_lost() -> None:
    assert counted(b"".join(LINES[:5] + LINES[7:])) == (20, 2, 0, 0)
    assert counted(b"".join(LINES[:15])) == (15, 5, 0, 0)


def test_a_line_that_comes_twice_counts_as_a_fault() -> None:
    lost = counted(b"".join([*LINES[:5], LINES[4], *LINES[5:]]))[1]
    assert lost == 1


def test_half_a_line_at_the_end_is_torn() -> None:
    assert counted(b"".join(LINES)[:-1]) == (19, 1, 1, 0)


@pytest.mark.parametrize("at", [0, 1, 5, -12, -2])
def test_a_changed_byte_is_wrong_or_lost(at: int) -> None:
    changed = bytearray(LINES[4])
    changed[at] ^= 1
    _, lost, torn, wrong = counted(b"".join([*LINES[:4], bytes(changed), *LINES[5:]]))
    assert lost + torn + wrong > 0


def test_zeros_are_wrong() -> None:
    assert counted(b"".join(LINES[:4]) + bytes(len(LINES[4]) - 1) + b"\n")[3] == 1


def test_growth_is_told_with_its_noise() -> None:
    chance = random.Random(1)
    flat = [(float(at), 40 + chance.uniform(-1, 1)) for at in range(0, 600, 2)]
    grown = [(at, value + at / 100) for at, value in flat]
    assert slope(grown).startswith("+3")
    assert slope(flat[:5]) == "too few samples"
