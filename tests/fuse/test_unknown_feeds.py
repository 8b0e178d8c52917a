"""Feeds of which nothing is known yet: opens wait or fail, and nothing shows them as empty."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.errnos import expect
from tests.fuse.test_waiting_reads import DEATH_SECONDS, is_waiting, reader
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

TOGETHER = 8  # readers
FOUND_BYTES = 30_000
TOOL_SECONDS = 20.0  # an upper bound for a slow machine, not a delay


def test_an_open_waits_for_a_head(shared: Staged) -> None:
    path = shared.followed(0, 0)
    shared.control("search", path.name)
    os.close(os.open(path, os.O_PATH))
    with reader("cat", path) as killed, reader("cat", path) as served:
        wait_until(lambda: is_waiting(killed) and is_waiting(served))
        killed.terminate()
        assert killed.wait(DEATH_SECONDS) == -signal.SIGTERM
        shared.control("stage", path.name, blocks=["found\n"])
        shared.control("found", path.name)
        assert served.wait(DEATH_SECONDS) == 0
        assert served.stdout is not None
        assert served.stdout.read() == b"found\n"
    wait_until(lambda: shared.control("show", path.name)["handles"] == 0)


def test_an_unknown_feed_is_never_opened(shared: Staged) -> None:
    """Nobody can be asked; each open asks again."""
    path = shared.followed(0, 0)
    for count, flags in enumerate([os.O_RDONLY, os.O_RDONLY | os.O_NONBLOCK], 1):
        for times in (1, 2):
            expect(errno.ENODATA, lambda flags=flags: os.open(path, flags))  # type: ignore[misc]
            assert shared.control("show", path.name)["looks"] == 2 * count - 2 + times
    wait_until(lambda: shared.control("show", path.name)["handles"] == 0)
    shared.control("stage", path.name, blocks=["found\n"])
    assert path.read_bytes() == b"found\n"


def test_head_timeout(stage: Callable[..., AbstractContextManager[Staged]]) -> None:
    with stage("-o", "head_timeout=0.3") as staged:
        path = staged.followed(0, 0)
        staged.control("search", path.name)
        start = time.monotonic()
        expect(errno.ENODATA, path.read_bytes)
        assert 0.25 < time.monotonic() - start < 5
        expect(errno.ENODATA, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def test_without_head_timeout_no_open_waits(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage("-o", "head_timeout=0") as staged:
        path = staged.followed(0, 0)
        staged.control("search", path.name)
        expect(errno.ENODATA, path.read_bytes)
        assert staged.control("show", path.name)["looks"] == 1


@pytest.mark.parametrize(
    "command",
    [
        "cat {0}",
        "cp {0} {1} && cat {1}",
        "busybox cat {0}",
        # sendfile and splice take their end from the size that the kernel was told last
        "python3 -c \"import os; f = os.open('{0}', 0); os.sendfile(1, f, None, 1 << 20)\" | cat",
        "python3 -c \"import os; f = os.open('{0}', 0); os.splice(f, 1, 1 << 16)\" | cat",
        "tail -c +1 {0}",
        "tail -c 200000 {0}",
        "test $(python3 -c \"print(open('{0}').seek(0, 2))\") = 30000 && cat {0}",
    ],
)
def test_what_is_found_while_an_open_waits_is_read_whole(shared: Staged, command: str) -> None:
    path = shared.followed(0, 0)
    shared.control("search", path.name)
    with reader("bash", "-c", command.format(path, shared.mount.store / path.name)) as process:
        wait_until(lambda: shared.control("show", path.name)["handles"] == 1)
        shared.control("stage", path.name, pattern=FOUND_BYTES)
        shared.control("found", path.name)
        assert process.communicate(timeout=TOOL_SECONDS) == (pattern_bytes(FOUND_BYTES), b"")
        assert process.returncode == 0


def test_all_who_wait_together_read_what_is_found_whole(shared: Staged) -> None:
    """None of them may open while the kernel still takes the feed for one byte long."""
    path = shared.followed(0, 0)
    shared.control("search", path.name)
    script = f"import os; f = os.open('{path}', 0); os.sendfile(1, f, None, 1 << 20)"
    with ExitStack() as stack:
        readers = [
            stack.enter_context(reader("bash", "-c", f'python3 -c "{script}" | cat'))
            for _ in range(TOGETHER)
        ]
        wait_until(lambda: shared.control("show", path.name)["handles"] == TOGETHER)
        shared.control("stage", path.name, pattern=FOUND_BYTES)
        shared.control("found", path.name)
        for process in readers:
            assert process.communicate(timeout=TOOL_SECONDS) == (pattern_bytes(FOUND_BYTES), b"")


def test_no_tool_takes_an_unknown_feed_for_an_empty_one(shared: Staged) -> None:
    path = shared.followed(0, 0)
    status = path.stat()
    assert (status.st_size, status.st_blocks) == (1, 1)
    for arguments in (
        ("cat", path),
        ("cp", path, shared.mount.store / "copy"),
        ("tar", "-cSf", shared.mount.store / "archive", path),
        ("rsync", path, shared.mount.store / "copy"),
        ("dd", f"if={path}", "iflag=nonblock"),
        ("busybox", "cat", path),
        ("find", path, "-empty", "-exec", "cat", "{}", "+"),
    ):
        done = subprocess.run(arguments, capture_output=True, timeout=TOOL_SECONDS)
        assert done.stdout == b"", arguments
        if arguments[0] == "find":
            assert done.returncode == 0
        else:
            assert done.returncode != 0, arguments
            assert b"No data available" in done.stderr, arguments
    assert not (shared.mount.store / "copy").exists()


def test_a_live_view_of_an_unknown_feed_is_opened_and_waits(shared: Staged) -> None:
    path = shared.followed(0, 0)
    view = shared.path / ".live" / path.name
    assert view.stat().st_size == 1
    descriptor = os.open(view, os.O_RDONLY | os.O_NONBLOCK)
    expect(errno.EAGAIN, lambda: os.read(descriptor, 100))
    with reader("cat", view) as process:
        wait_until(lambda: is_waiting(process))
        assert shared.control("show", path.name)["looks"] == 2
        shared.control("stage", path.name, blocks=["found\n"])
        assert process.stdout is not None
        assert process.stdout.readline() == b"found\n"
    assert os.read(descriptor, 100) == b"found\n"
    os.close(descriptor)


def test_a_view_from_the_end_of_an_unknown_feed_begins_where_it_is_found(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage("-o", "live_from=end") as staged:
        path = staged.followed(0, 0)
        with reader("cat", staged.path / ".live" / path.name) as process:
            wait_until(lambda: is_waiting(process))
            staged.control("stage", path.name, blocks=["found\n"])
            wait_until(lambda: staged.control("show", path.name)["waiting"] == 1)
            staged.control("stage", path.name, blocks=["new\n"])
            assert process.stdout is not None
            assert process.stdout.readline() == b"new\n"


def test_attributes_of_an_unknown_feed_have_no_length(shared: Staged) -> None:
    path = shared.followed(0, 0)
    assert os.getxattr(path, "protozorfs.local") == b"0"
    for name in ("protozorfs.length", "protozorfs.bytes"):
        expect(errno.ENODATA, lambda name=name: os.getxattr(path, name))  # type: ignore[misc]
    shared.control("stage", path.name, blocks=["found\n"])
    assert os.getxattr(path, "protozorfs.bytes") == b"6"
