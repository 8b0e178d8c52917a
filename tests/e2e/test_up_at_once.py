"""A mount whose daemon was killed while feeds were written answers at once, and checks behind that.

The long form has 2 million blocks in 5 feeds, and prints how long the first answer took.
"""

from __future__ import annotations

import errno
import json
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest
import trio

from protozorfs.app import open_node
from tests.e2e.stage import WAIT_SECONDS, free_port, number, options, wait_until, xattr
from tests.mounts import Mount, is_listed, start_mount, unmount
from tests.sizes import IS_LONG, long_or_short
from tests.swarm.nodes import ALONE

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.feeds.feed import Feed

pytestmark = [pytest.mark.fuse, pytest.mark.crash, pytest.mark.slow]

FEEDS = 5
BLOCKS = long_or_short(400_000, 4000)  # of each feed, before it is written in the run that ends
BLOCK_BYTES = 100
COMMIT = 1000
LINES = long_or_short(2000, 50)  # of each feed, that were acknowledged when the daemon is killed
MAX_SECONDS = 1.0  # until the first answer, more than of an empty store
# Appends numbered blocks by a write each, and says how many are in.
WRITER = """
import os, sys
path, first = sys.argv[1], int(sys.argv[2])
file = os.open(path, os.O_WRONLY | os.O_APPEND)
while True:
    os.write(file, (b"%d " % first).ljust(BLOCK_BYTES, b"."))
    first += 1
    os.write(1, b"%d\\n" % first)
""".replace("BLOCK_BYTES", str(BLOCK_BYTES))


def block(index: int) -> bytes:
    return (b"%d " % index).ljust(BLOCK_BYTES, b".")


def expected(start: int, size: int) -> bytes:
    """Bytes of a feed from block `start` on."""
    return b"".join(block(start + index) for index in range(-(-size // BLOCK_BYTES)))[:size]


def names() -> list[str]:
    return [f"feed{index}" for index in range(FEEDS)]


def make_store(path: Path) -> dict[str, Path]:
    """A store as a kill leaves it, with all in doubt; the directories of its feeds."""

    async def fill() -> dict[str, Path]:
        found = {}
        async with open_node(path, ALONE) as node:
            for name in names():
                feed: Feed = await node.create(name.encode())
                for first in range(0, BLOCKS, COMMIT):
                    await feed.append([block(first + index) for index in range(COMMIT)])
                await feed.sync()
                found[name] = path / feed.log.directory.path
        return found

    directories = trio.run(fill)
    for directory in directories.values():
        for name in ("clean", "bitfield", "bitfield.log"):
            (directory / name).unlink(missing_ok=True)
    return directories


def check_of(mount: Mount) -> dict[str, int] | None:
    status = json.loads((mount.path / ".protozorfs" / "status.json").read_text())
    return cast("dict[str, int] | None", status["check"])


def left(mount: Mount) -> int:
    check = check_of(mount)
    return 0 if check is None else check["bytes_left"]


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def write_until_the_kill(mount: Mount, path: Path) -> dict[str, int]:
    """Appends to all feeds at once, kills the daemon; how many blocks each was told to have."""
    with ExitStack() as stack:
        writers, said = [], {}
        for name in names():
            said[name] = path / f"{name}.said"
            output = stack.enter_context(said[name].open("wb"))
            command = [sys.executable, "-c", WRITER, str(mount.path / name), str(BLOCKS)]
            writer = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
            stack.callback(writer.wait, WAIT_SECONDS)
            stack.callback(writer.kill)
            writers.append(writer)
        wait_until(lambda: all(file.read_bytes().count(b"\n") > LINES for file in said.values()))
        mount.process.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.wait(WAIT_SECONDS)
    mount.process.wait()
    return {name: int(file.read_bytes().split()[-1]) for name, file in said.items()}


def seconds_of_an_empty_store(path: Path) -> float:
    start = time.monotonic()
    mount = start_mount(path, "-o", options(free_port()), name="empty")
    assert check_of(mount) is None
    seconds = time.monotonic() - start
    mount.stop()
    return seconds


def test_a_killed_mount_of_any_size_answers_at_once_and_checks_the_rest(tmp_path: Path) -> None:
    settings = options(free_port())
    directories = make_store(tmp_path / "m.store")
    with ExitStack() as stack:
        stack.callback(lambda: is_listed(tmp_path / "m") and unmount(tmp_path / "m", "-z"))
        first = start_mount(tmp_path, "-o", settings)
        stack.callback(first.abort)
        lengths = write_until_the_kill(first, tmp_path)
        rotten = BLOCKS // 2
        flip(directories["feed0"] / "data", rotten * BLOCK_BYTES + 5)

        start = time.monotonic()
        mount = start_mount(tmp_path, "-o", settings)
        stack.callback(mount.abort)
        for name, length in lengths.items():
            # What returned is there, with the line that was under way, or without.
            assert (mount.path / name).stat().st_size // BLOCK_BYTES in (length, length + 1)
            with (mount.path / name).open("rb") as file:
                file.seek((length - 1) * BLOCK_BYTES)
                assert file.read(BLOCK_BYTES) == block(length - 1)
        seconds = time.monotonic() - start
        print(f"{sum(lengths.values())} blocks: answered after {seconds:.2f} s")
        if IS_LONG:
            assert seconds - seconds_of_an_empty_store(tmp_path) < MAX_SECONDS

        choice = random.Random(1)
        for _ in range(50):  # of parts that are checked, and that are not yet
            name, at = choice.choice(names()[1:]), choice.randrange(BLOCKS)
            with (mount.path / name).open("rb") as file:
                file.seek(at * BLOCK_BYTES)
                assert file.read(5000) == expected(at, 5000)[: (lengths[name] - at) * BLOCK_BYTES]
        with (mount.path / "feed0").open("rb", buffering=0) as file:
            file.seek(rotten * BLOCK_BYTES)
            with pytest.raises(OSError) as caught:  # noqa: PT011  the number is what counts
                file.read(10)
            assert caught.value.errno == errno.EIO

        # A second kill during the check loses no progress.
        before = left(mount)
        if IS_LONG:
            wait_until(lambda: left(mount) < before / 2)
        after = check_of(mount)
        mount.process.send_signal(signal.SIGKILL)
        mount.process.wait()
        mount = start_mount(tmp_path, "-o", settings)
        stack.callback(mount.abort)
        again = check_of(mount)
        if IS_LONG:
            assert after is not None
            assert again is not None
            assert again["bytes_left"] < after["bytes_left"] + 3 * max(1, after["bytes_per_second"])
        print("left of the check before the second kill and after:", after, again)
        wait_until(lambda: check_of(mount) is None)
        states = {name: xattr(mount.path / name, "state") for name in names()}
        assert states == {name: "damaged" if name == "feed0" else "owned" for name in names()}
        assert number(mount.path / "feed1", "length") >= lengths["feed1"]
        assert "is checked: " in (mount.path / ".protozorfs" / "log").read_text()
        mount.stop()
        assert "Traceback" not in mount.said
        mount = start_mount(tmp_path, "-o", settings)
        stack.callback(mount.abort)
        assert check_of(mount) is None
        mount.stop()
