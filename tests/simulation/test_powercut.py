"""`scripts/powercut`: what a real mount's system calls leave after a kill or a power cut."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protozorfs.store.memory_disk import Inode
from scripts.powercut import Violation, content_of, count_in, record_of
from tests.simulation.record import Call, Replay
from tests.simulation.store_scenarios import NOTHING_IS_LEFT
from tests.sizes import long_or_short

ROOT = Path(__file__).parents[2]
FLAGS = long_or_short(["--every", "2"], ["--quick"])


@pytest.mark.fuse
@pytest.mark.crash
@pytest.mark.slow
def test_no_power_cut_of_a_mount_loses_what_was_promised() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.powercut", *FLAGS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    figures = re.search(r"(\d+) cut points, .* (\d+) states, 0 violations", done.stdout)
    assert figures is not None
    assert int(figures[1]) > 20
    assert int(figures[2]) > 60


def test_a_long_write_may_be_there_in_part_only_after_a_power_cut_and_in_whole_blocks() -> None:
    number = next(n for n in range(1000) if len(record_of("a", n)) > 2**16)
    before, record = content_of("a", number), record_of("a", number)
    torn = before + record[: 2**16]
    assert count_in(torn, "a", was_power_cut=True) == number
    assert count_in(before + record, "a", was_power_cut=True) == number + 1
    with pytest.raises(Violation):
        count_in(torn, "a")
    for other in (record[: 2**16 - 1], record[:5], record[: 2**16] + b"y"):
        with pytest.raises(Violation):
            count_in(before + other, "a", was_power_cut=True)


def call(kind: str, path: str = "", *, inode: int = 0, data: bytes = b"", other: str = "") -> Call:
    return Call(kind, 1, inode, 0, path, other, data)


def content(replay: Replay, name: str) -> bytes | None:
    entry = replay.survivor(random.Random(0), NOTHING_IS_LEFT).current.get(name)
    return bytes(entry.current) if isinstance(entry, Inode) else None


def test_a_replayed_sync_covers_what_was_written_before_it_began() -> None:
    replay = Replay()
    for each in (
        call("c", "a", inode=7),
        call("w", inode=7, data=b"one"),
        call("D"),
        call("d"),
        call("S", inode=7),
        call("w", inode=7, data=b"two"),
        call("s", inode=7),
    ):
        replay.carry_out(each)
    assert content(replay, "a") == b"one"


def test_a_replayed_rename_is_durable_with_its_directory_alone() -> None:
    replay = Replay()
    for each in (
        call("c", "a", inode=7),
        call("D"),
        call("d"),
        call("r", "a", other="b"),
    ):
        replay.carry_out(each)
    assert (content(replay, "a"), content(replay, "b")) == (b"", None)
    replay.carry_out(call("D"))
    replay.carry_out(call("d"))
    assert (content(replay, "a"), content(replay, "b")) == (None, b"")
