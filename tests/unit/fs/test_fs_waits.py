"""Waiting in handlers: reads, time, shutting down, the limit, and the guard around handlers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pyfuse3
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.errors import BlockUnavailable, Closing, StoreCorrupt
from protozorfs.fs import interrupts as interrupts_module
from protozorfs.fs import mount_points, requests, signals
from protozorfs.fs.errnos import Interrupted, Refused, TooManyWaits, WaitTimedOut
from protozorfs.fs.guard import guarded
from protozorfs.fs.inodes import FeedInode
from protozorfs.fs.interrupts import Interrupts
from protozorfs.fs.origins import Origin, Origins
from protozorfs.fs.reads import end_of_answer, read_waiting
from protozorfs.fs.requests import LibFuse, OpenRequest, ReadRequest
from protozorfs.fs.waits import Waits
from protozorfs.types import FeedId
from tests.memory_feeds import MemoryFeed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = FeedId(crypto.key_pair(b"\1" * 32).public_key)
FOREVER = float("inf")
REQUEST = OpenRequest(inode=2, pid=os.getpid())


def make_waits(bound_seconds: float | None = None, limit: int = 10) -> Waits:
    return Waits(Interrupts("/nowhere"), bound_seconds=bound_seconds, limit=limit)


@given(
    offset=st.integers(0, 40_000),
    size=st.integers(1, 20_000),
    told=st.integers(0, 30_000),
    growth=st.integers(0, 10_000),
    origin=st.sampled_from(Origin),
)
def test_an_answer_goes_to_the_end_of_the_read_or_of_the_feed(
    offset: int, size: int, told: int, growth: int, origin: Origin
) -> None:
    known = told + growth
    end = end_of_answer(offset, size, told=told, known=known, origin=origin)
    if origin is Origin.PAGE_CACHE and offset < told:
        assert end == min(offset + size, told)
    else:
        assert end == max(offset, min(offset + size, known))


async def read(
    feed: MemoryFeed, offset: int, size: int, *, told: int = 0, origins: Origins | None = None
) -> bytes:
    inode = FeedInode(2, ID, told_length=told)
    return await read_waiting(
        feed,
        inode,
        make_waits(),
        origins or Origins(),
        offset=offset,
        size=size,
        timeout_seconds=3.0,
    )


class FixedOrigins(Origins):
    """Every READ comes from one place."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self._origin = origin

    async def of(self, request: ReadRequest) -> Origin:
        await trio.lowlevel.checkpoint()
        return self._origin


async def test_a_read_waits_until_all_of_it_is_here(autojump_clock: trio.abc.Clock) -> None:
    feed = MemoryFeed(ID, is_owned=False)
    feed.stage([b"0123456789"], held=False)

    async def fill() -> None:
        for count in (4, 9, 10):
            await trio.sleep(1)
            feed.hold(count)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        assert await read(feed, 1, 3) == b"123"
        assert trio.current_time() == pytest.approx(1, abs=0.1)
        assert await read(feed, 0, 100) == b"0123456789"
        assert trio.current_time() == pytest.approx(3, abs=0.1)
    assert await read(feed, 10, 100) == b""


async def test_a_read_is_never_answered_with_a_part(autojump_clock: trio.abc.Clock) -> None:
    feed = MemoryFeed(ID, is_owned=False)
    feed.stage([b"0123456789"], held=False)
    feed.hold(9)
    with pytest.raises(WaitTimedOut):
        await read(feed, 0, 10)


async def test_a_read_does_not_wait_for_what_came_after_it(autojump_clock: trio.abc.Clock) -> None:
    feed = MemoryFeed(ID, is_owned=False)
    feed.stage([b"0123456789"], held=False)

    async def grow() -> None:
        await trio.sleep(1)
        feed.stage([b"abc"], held=False)
        feed.hold(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(grow)
        assert await read(feed, 0, 100) == b"0123456789"


async def test_a_read_of_pages_waits_for_all_that_was_told(autojump_clock: trio.abc.Clock) -> None:
    feed = MemoryFeed(ID, is_owned=False)
    feed.stage([bytes(2000), bytes(4000)], held=False)
    pages = FixedOrigins(Origin.PAGE_CACHE)

    async def fill() -> None:
        for count in (1000, 1999, 2000):
            await trio.sleep(0.5)
            feed.hold(count)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        assert len(await read(feed, 0, 4096, told=2000, origins=pages)) == 2000
    # What was not told yet the kernel does not count on; and what is here is not declined.
    assert len(await read(feed, 0, 8192, told=2000, origins=pages)) == 2000


async def test_readahead_of_missing_bytes_is_declined() -> None:
    feed = MemoryFeed(ID, is_owned=False)
    feed.stage([bytes(10_000)], held=False)
    with pytest.raises(Refused) as refused:
        await read(feed, 0, 8192, told=10_000, origins=FixedOrigins(Origin.PAGE_CACHE))
    assert refused.value.errno == errno.EAGAIN


async def test_errors_of_the_feed_come_through() -> None:
    feed = MemoryFeed(ID, is_owned=False, is_local=True)
    feed.stage([b"abc"], held=False)
    with pytest.raises(BlockUnavailable):
        await read(feed, 0, 10)
    feed.is_damaged = True
    with pytest.raises(StoreCorrupt):
        await read(feed, 0, 10)


async def test_how_a_wait_ends(autojump_clock: trio.abc.Clock) -> None:
    waits = make_waits()
    await waits.run(REQUEST, trio.lowlevel.checkpoint, FOREVER)
    with pytest.raises(WaitTimedOut):
        await waits.run(REQUEST, trio.sleep_forever, trio.current_time() + 5)
    with pytest.raises(Interrupted):  # well before the kernel ends the mount
        await make_waits(bound_seconds=10).run(REQUEST, trio.sleep_forever, FOREVER)
    with pytest.raises(WaitTimedOut):
        await make_waits(bound_seconds=10).run(REQUEST, trio.sleep_forever, trio.current_time() + 5)
    assert len(waits) == 0


async def test_closing_ends_all_waits_and_those_to_come() -> None:
    waits = make_waits()
    ended = []

    async def wait() -> None:
        with pytest.raises(Closing):
            await waits.run(REQUEST, trio.sleep_forever, FOREVER)
        ended.append(True)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert len(waits) == 3
        waits.close()
    assert ended == [True] * 3
    await wait()


async def test_waits_have_a_limit() -> None:
    waits = make_waits(limit=2)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(waits.run, REQUEST, trio.sleep_forever, FOREVER)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TooManyWaits):
            await waits.run(REQUEST, trio.sleep_forever, FOREVER)
        nursery.cancel_scope.cancel()


async def test_a_cancelled_wait_is_cancelled() -> None:
    waits = make_waits()
    with trio.CancelScope() as scope:
        scope.cancel()
        await waits.run(REQUEST, trio.sleep_forever, FOREVER)
    assert scope.cancelled_caught


async def test_a_request_that_is_not_pyfuse3s_is_not_found() -> None:
    assert await requests.container_memory() is None


def test_libfuse_is_found() -> None:
    assert LibFuse() is not None


def test_a_layout_must_be_beyond_doubt() -> None:
    marked = bytes(16) + (7).to_bytes(8, "little") + bytes(40)
    twice = marked + marked
    for open_memory, read_memory in [(twice, marked), (marked, twice), (marked, bytes(64))]:
        layout = requests.find_layout(
            LibFuse(),
            open_memory=open_memory,
            inode=7,
            read_memory=read_memory,
            offset=7,
            size=0,
            owner=(1, 1),
        )
        assert layout is None


@pytest.mark.parametrize(
    ("maximum", "default", "bound"),
    [(None, None, None), ("0", "0", None), ("60", "0", 55.0), ("60", "15", 10.0), ("6", "0", 3.0)],
)
def test_the_kernels_limit(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    maximum: str | None,
    default: str | None,
    bound: float | None,
) -> None:
    paths = []
    for name, value in (("max", maximum), ("default", default)):
        paths.append(str(tmp_path / name))
        if value is not None:
            (tmp_path / name).write_text(value + "\n")
    monkeypatch.setattr(interrupts_module, "_TIMEOUT_SETTINGS", tuple(paths))
    assert interrupts_module.request_time_bound() == bound


BLOCKS_SIGNAL = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def child(*command: str, stdin: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end, stopped or not."""
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def stop_with_pending_signal(process: subprocess.Popen[bytes]) -> None:
    """A stopped process does not act on its next signal: it stays pending, as in a wait of FUSE."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    process.send_signal(signal.SIGTERM)


def test_blocked_signals_are_not_pending() -> None:
    with child(sys.executable, "-c", BLOCKS_SIGNAL, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        assert not signals.has_pending_signal(process.pid)
        stop_with_pending_signal(process)
        assert signals.has_pending_signal(process.pid)
    assert signals.has_pending_signal(process.pid)  # gone


def test_open_files_of_a_signalled_process_are_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with path.open("rb") as file, child("sleep", "60", stdin=file) as process:
        assert signals.signalled_inodes(str(tmp_path)) == set()
        stop_with_pending_signal(process)
        assert signals.signalled_inodes(str(tmp_path)) == {path.stat().st_ino}
        assert signals.signalled_inodes(str(tmp_path / "fi")) == set()


async def test_handlers_raise_nothing_but_fuse_errors(caplog: pytest.LogCaptureFixture) -> None:
    @guarded
    class Handlers:
        async def fine(self, value: int) -> int:
            return value

        async def refused(self) -> None:
            raise Refused(errno.EPERM)

        async def plain(self) -> None:
            raise pyfuse3.FUSEError(errno.ENODATA)

        async def broken(self) -> None:
            raise ZeroDivisionError

        async def cancelled(self) -> None:
            await trio.sleep_forever()

    handlers = Handlers()
    assert await handlers.fine(3) == 3
    for handler, code in [
        (handlers.refused, errno.EPERM),
        (handlers.plain, errno.ENODATA),
        (handlers.broken, errno.EIO),
    ]:
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await handler()
        assert caught.value.errno == code
    assert "broken failed in a way that has no errno" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    with trio.CancelScope() as scope:
        scope.cancel()
        await handlers.cancelled()
    assert scope.cancelled_caught


MOUNTINFO = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 25 0:42 / /mnt/with\\040blank\\054 rw,nosuid - fuse.protozorfs store rw,user_id=0
31 25 0:43 / /mnt/other rw - tmpfs tmpfs rw
32 25 0:44 / /mnt/other rw shared:7 master:1 - fuse.protozorfs a\\040b rw
a line of another kind
"""


def test_mountinfo() -> None:
    entries = mount_points.parse_mountinfo(MOUNTINFO.encode())
    assert [(entry.device, entry.path, entry.kind) for entry in entries] == [
        ("254:0", "/", "ext4"),
        ("0:42", "/mnt/with blank,", "fuse.protozorfs"),
        ("0:43", "/mnt/other", "tmpfs"),
        ("0:44", "/mnt/other", "fuse.protozorfs"),
    ]


def test_the_root_is_mounted() -> None:
    assert mount_points.mounted_at("/") is not None
    assert mount_points.mounted_at("/nothing/here") is None
