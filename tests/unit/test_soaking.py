"""What `scripts/soak` counts: lines that are gone, torn or changed are never taken for right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from scripts.growth import growth_of
from scripts.soaking import MAX_FILES, MAX_GROWTH, MAX_TEXT_BYTES, Node, Reader, line, verdict

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


FLAT = [(float(at), 40 + random.Random(at).uniform(-1, 1)) for at in range(0, 900, 2)]
STEP = [(float(at), 40 + 0.75 * (at >= 400)) for at in range(0, 900, 2)]  # of the allocator


def test_noise_and_a_step_are_no_growth() -> None:
    for samples in (FLAT, STEP, [(at, 40.0) for at, _ in FLAT]):
        growth = growth_of(samples)
        assert growth is not None
        assert not growth.exceeds(MAX_GROWTH)


def test_growth_is_told_from_noise() -> None:
    grown = growth_of([(at, value + 9 * at / 3600) for at, value in FLAT])
    assert grown is not None
    assert grown.exceeds(MAX_GROWTH)
    assert abs(grown.an_hour - 9) < 2
    assert growth_of(FLAT[:150]) is None


def test_in_a_long_time_less_growth_is_certain() -> None:
    grown = growth_of([(at, 40 + 1.5 * at / 3600) for at, _ in FLAT])
    assert grown is not None
    assert not grown.exceeds(MAX_GROWTH)
    assert grown._replace(hours=1.0).exceeds(MAX_GROWTH)
    assert not grown._replace(an_hour=0.9, hours=10.0).exceeds(MAX_GROWTH)


@pytest.mark.parametrize(("files", "is_bad"), [(MAX_FILES, False), (MAX_FILES + 1, True)])
def test_a_daemon_keeps_to_the_limit_of_files(files: int, is_bad: bool) -> None:
    node = Node("reader", Path("/nowhere"), cast("Host", None), [], random.Random(1))
    node.lives = 2
    node.samples = [(1.0, 40.0, MAX_FILES + 9), (10.0, 40.0, files)]
    assert verdict(node, since=5.0)[1] == is_bad


def test_only_a_daemon_that_was_never_ended_can_grow() -> None:
    node = Node("reader", Path("/nowhere"), cast("Host", None), [], random.Random(1))
    node.samples = [(at, value + at / 60, 20.0) for at, value in FLAT]
    node.lives = 1
    assert verdict(node, since=0.0)[1]
    node.lives = 2
    assert not verdict(node, since=0.0)[1]
