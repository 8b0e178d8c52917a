"""Much at once: random access to a long feed, many lines, many writers."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    WAIT_SECONDS,
    are_same,
    follow,
    id_of,
    number,
    owner_and_reader,
    running,
    shell,
    wait_size,
    wait_until,
)
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = pytest.mark.fuse

MEBIBYTE = 1 << 20
LONG_FEED_BYTES = long_or_short(1024 * MEBIBYTE, 64 * MEBIBYTE)
WRITERS = 8
LINES_EACH = long_or_short(5000, 300)
LONG_LINE = 4000  # bytes, above what one page or one buffer of a shell takes


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Mount, Mount]]:
    """An owner and a reader."""
    with owner_and_reader(tmp_path) as mounts:
        yield mounts


@pytest.mark.slow
def test_the_end_of_a_long_feed_costs_less_than_a_mebibyte(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shell(f"head -c {LONG_FEED_BYTES} /dev/urandom > {source}")
    with owner_and_reader(tmp_path, more=["sparse"]) as (owner, reader):
        shell(f"cat {source} >> {owner.path}/big")
        feed = follow(id_of(owner.path / "big"), reader.path / "big")
        wait_size(feed, LONG_FEED_BYTES)
        assert number(feed, "local") == 0
        shell(f"tail -c 1000 {feed} | cmp - <(tail -c 1000 {source})")
        assert 1000 <= number(feed, "local") < MEBIBYTE
        assert int(shell(f"du -B1 {feed}").split()[0]) < MEBIBYTE
        # The whole store of the reader, its tree included, but for what is set aside in any.
        assert int(shell(f"du -s -B1 --exclude=spare {reader.store}").split()[0]) < MEBIBYTE


@pytest.mark.slow
def test_any_part_of_a_long_feed_is_right(tmp_path: Path) -> None:
    """The first bytes, and some across blocks in the middle, without the rest."""
    source, size = tmp_path / "source", 8 * MEBIBYTE
    shell(f"head -c {size} /dev/urandom > {source}")
    with owner_and_reader(tmp_path, more=["sparse"]) as (owner, reader):
        shell(f"cat {source} >> {owner.path}/big")
        feed = follow(id_of(owner.path / "big"), reader.path / "big")
        wait_size(feed, size)
        for skip in (0, 65_500, 3_333_333, size - 10):
            part = "dd status=none bs=100 count=1 iflag=skip_bytes skip=%d if=%s"
            shell(f"cmp <({part % (skip, feed)}) <({part % (skip, source)})")
        assert number(feed, "local") < 2 * MEBIBYTE


def test_a_hundred_thousand_lines_arrive(pair: tuple[Mount, Mount]) -> None:
    owner, reader = pair
    shell(f"seq 1 100000 >> {owner.path}/numbers")
    size = int(shell("seq 1 100000 | wc -c"))
    feed = follow(id_of(owner.path / "numbers"), reader.path / "numbers")
    wait_size(feed, size)
    assert are_same(owner.path / "numbers", feed)
    shell(f"seq 1 100000 | cmp - {feed}")


def append_lines(writer: int, feed: Path) -> str:
    """A shell loop that appends short and long lines, each by a process or a write of its own."""
    padding = "x" * LONG_LINE
    return (
        f"for ((n = 0; n < {LINES_EACH}; n++)); do "
        f'if ((n % 3)); then echo "{writer} $n"; else echo "{writer} $n {padding}"; fi >> {feed}; '
        "done"
    )


@pytest.mark.slow
def test_eight_writers_at_once_lose_and_tear_no_line(
    pair: tuple[Mount, Mount],
) -> None:
    owner, reader = pair
    feed = owner.path / "shared"
    feed.touch()
    followed = follow(id_of(feed), reader.path / "shared")
    writers = [
        subprocess.Popen(["bash", "-c", append_lines(writer, feed)]) for writer in range(WRITERS)
    ]
    for process in writers:
        assert process.wait(WAIT_SECONDS) == 0
    expect_every_line(feed.read_text())
    assert number(feed, "length") == WRITERS * LINES_EACH
    wait_size(followed, feed.stat().st_size)
    assert are_same(feed, followed)


def expect_every_line(text: str) -> None:
    """Every line of every writer is there once, whole, in the writer's order."""
    seen = [0] * WRITERS
    padding = "x" * LONG_LINE
    for line in text.splitlines():
        writer, count, *rest = line.split(" ")
        assert int(count) == seen[int(writer)]
        assert rest == ([] if int(count) % 3 else [padding])
        seen[int(writer)] += 1
    assert seen == [LINES_EACH] * WRITERS


def test_tail_shows_lines_as_they_are_appended(pair: tuple[Mount, Mount]) -> None:
    owner, reader = pair
    shell(f"echo 0 >> {owner.path}/journal")
    feed = follow(id_of(owner.path / "journal"), reader.path / "journal")
    wait_until(lambda: feed.stat().st_size == 2)
    with running("tail", "-n", "+1", "-s", "0.05", "-f", feed, stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        for line in range(10):
            if line:
                shell(f"echo {line} >> {owner.path}/journal")
            assert tail.stdout.readline() == b"%d\n" % line
        tail.terminate()
        tail.wait(WAIT_SECONDS)
