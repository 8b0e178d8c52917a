"""Mounts feeds at a directory and serves them until the mount ends or the caller cancels."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import trio

from protozorfs.fs import mount_points
from protozorfs.fs.interrupts import Interrupts, request_time_bound
from protozorfs.fs.mount_points import MountError, MountWatch
from protozorfs.fs.negotiation import Negotiation
from protozorfs.fs.nudges import Nudges
from protozorfs.fs.operations import Operations
from protozorfs.fs.origins import Origins
from protozorfs.fs.parts import Parts
from protozorfs.fs.polls import Polls
from protozorfs.fs.self_test import SelfTest
from protozorfs.fs.status import StatusTree
from protozorfs.fs.stuck_reads import no_stuck_reads
from protozorfs.fs.waits import Patience, Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from protozorfs.fs.ports import FeedsView

log = logging.getLogger(__name__)

SUBTYPE = "protozorfs"
# A waiting read holds a worker task of pyfuse3, and with all taken the whole mount stands still, so
# there must be more than waits are allowed (`waits.MAX_WAITS`).
_MIN_TASKS = 10
_MAX_TASKS = 100_000
_WATCH_PERIOD = 0.5  # seconds until a lost mount is noticed
_STOP_SECONDS = 0.7  # for handlers to answer when the mount ends; all has to be over after 2 s


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """How to mount.

    Attributes:
        mount_point: an absolute path without symbolic links.
        source: what `mount` shows as the device.
        kernel_options: options for libfuse and the kernel, such as "ro" or "allow_other".
        syncs: every write returns when it is durable (option `sync`).
        patience: how long handlers wait.
        live_from_end: live views begin at the end of their feed.
        wakes_watchers: inotify watchers are told when a followed feed grows.
    """

    mount_point: str
    source: str
    kernel_options: frozenset[str] = frozenset()
    syncs: bool = False
    patience: Patience = field(default_factory=Patience)
    live_from_end: bool = False
    wakes_watchers: bool = True


async def serve(
    feeds: FeedsView,
    options: MountOptions,
    log_lines: Callable[[], Iterable[str]] = tuple,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves the mount; started when it answers and signals to readers work.

    `log_lines` tells the most recent lines of the log, for the file of that name.

    Returns when somebody unmounts, lazily too, or aborts the connection, and after `stop`, which
    ends all waits with EIO, lets handlers answer for a moment and unmounts: well within two
    seconds. So does a cancellation before it is started. What else ends it, an error here or one
    elsewhere that cancels it, leaves the dead mount in place: who appends gets ENOTCONN, where
    the directory below would take it and hide it.

    Raises:
        MountError: it cannot be mounted.
    """
    life = _Life()
    interrupts = Interrupts(options.mount_point)
    parts = _make_parts(feeds, options, interrupts, log_lines)
    operations = Operations(parts)
    with (
        _mounted(operations, options, life) as (watch, descriptor),
        Negotiation(descriptor) as negotiation,
        feeds.surroundings.watched(parts.grown),
        no_stuck_reads(),
    ):
        async with trio.open_nursery() as nursery:
            loop = _RequestLoop(parts.waits, life)
            nudge = partial(
                parts.nudges.run, device=watch.device, has_locked_pages=operations.has_locked_pages
            )
            await nursery.start(parts.polls.run)
            nursery.start_soon(interrupts.run_fallback)
            nursery.start_soon(_end_when_gone, watch, life, nursery.cancel_scope)
            if stop is not None:
                nursery.start_soon(_end_when_told, stop, life, nursery.cancel_scope)
            try:
                nursery.start_soon(loop.run, nursery.cancel_scope)
                nursery.start_soon(negotiation.run)
                await operations.initialised.wait()
                await parts.self_test.run(options.mount_point, interrupts)
                nursery.start_soon(nudge)
                task_status.started()
                # Nobody is told if the start has been cancelled meanwhile: then it unmounts.
                await trio.lowlevel.checkpoint_if_cancelled()
                life.has_answered = True
                await trio.sleep_forever()
            finally:
                await loop.stop()
    if not life.has_answered:
        raise MountError(f"{options.mount_point}: unmounted before it could answer")


def _make_parts(
    feeds: FeedsView,
    options: MountOptions,
    interrupts: Interrupts,
    log_lines: Callable[[], Iterable[str]],
) -> Parts:
    origins = Origins()
    wakes = options.wakes_watchers and "ro" not in options.kernel_options
    return Parts(
        feeds=feeds,
        waits=Waits(interrupts, bound_seconds=request_time_bound()),
        polls=Polls(),
        nudges=Nudges(options.mount_point, feeds, is_enabled=wakes),
        status=StatusTree(feeds, log_lines),
        origins=origins,
        self_test=SelfTest(origins),
        patience=options.patience,
        syncs=options.syncs,
        is_shared="allow_other" in options.kernel_options,
        live_from_end=options.live_from_end,
    )


@dataclass(slots=True)
class _Life:
    """How far a mount has come.

    Attributes:
        has_answered: it was told to whoever started it that it is there.
        may_end: it is gone already, or somebody wants its end.
    """

    has_answered: bool = False
    may_end: bool = False


class _RequestLoop:
    """pyfuse3's loop, kept from being cancelled before its handlers had a chance to answer."""

    def __init__(self, waits: Waits, life: _Life) -> None:
        self._waits = waits
        self._life = life
        self._scope = trio.CancelScope(shield=True)
        self._is_stopping = False
        self._ended = trio.Event()

    async def run(self, serving: trio.CancelScope) -> None:
        """Runs the loop; cancels `serving` when it ends by itself: the mount is gone."""
        try:
            with self._scope:
                await pyfuse3.main(_MIN_TASKS, _MAX_TASKS)
                if not self._is_stopping:  # the kernel has ended it
                    self._life.may_end = True
        finally:
            self._ended.set()
            serving.cancel()

    async def stop(self) -> None:
        """Ends all waits with EIO, then the loop; after a while even if handlers do not answer."""
        self._is_stopping = True
        self._waits.close()
        if not self._ended.is_set():
            pyfuse3.terminate()
        with trio.move_on_after(_STOP_SECONDS, shield=True) as scope:
            await self._ended.wait()
        if scope.cancelled_caught:
            log.warning("some file operations did not end in time; their callers get an error")
        self._scope.cancel()


async def _end_when_told(stop: trio.Event, life: _Life, serving: trio.CancelScope) -> None:
    await stop.wait()
    life.may_end = True
    serving.cancel()


async def _end_when_gone(watch: MountWatch, life: _Life, serving: trio.CancelScope) -> None:
    """Cancels `serving` when the mount is gone.

    pyfuse3's loop alone would go on as long as a single read waits, or, after a lazy unmount, a
    single file is open.
    """
    while not watch.is_gone():  # noqa: ASYNC110 - neither is an event that trio can wait for
        await trio.sleep(_WATCH_PERIOD)
    log.info("the mount is gone")
    life.may_end = True
    serving.cancel()


@contextmanager
def _mounted(
    operations: Operations, options: MountOptions, life: _Life
) -> Iterator[tuple[MountWatch, int]]:
    """Mounts, and at the end unmounts, unless it ends while others count on it.

    The number is that of pyfuse3's descriptor.
    """
    mount_points.prepare(options.mount_point)
    before = mount_points.fuse_descriptors()
    reasons: list[str] = []
    try:
        with _captured_stderr(reasons), _signals_blocked():
            pyfuse3.init(operations, options.mount_point, _libfuse_options(options))
    except RuntimeError as error:
        reason = reasons[0] if reasons else str(error)
        raise MountError(f"{options.mount_point}: {reason}") from error
    watch: MountWatch | None = None
    try:
        (descriptor,) = mount_points.fuse_descriptors() - before
        watch = MountWatch(options.mount_point, descriptor)
        yield watch, descriptor
    finally:
        unmounts = life.may_end or not life.has_answered
        with _signals_blocked():
            pyfuse3.close(unmount=unmounts)
            # After an abort of the connection libfuse leaves the mount where it is.
            if unmounts and watch is not None and watch.is_listed():
                mount_points.unmount(options.mount_point)
        if watch is not None:
            watch.close()


def _libfuse_options(options: MountOptions) -> set[str]:
    # pyfuse3 passes options as ASCII; a comma or backslash would end or change the word.
    source = mount_points.ascii_source(options.source).replace("\\", "\\\\").replace(",", "\\,")
    return {
        f"fsname={source}",
        f"subtype={SUBTYPE}",
        *options.kernel_options,
    }


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keeps signals from this thread, and from the processes that the body starts, until its end.

    libfuse mounts and unmounts through `fusermount3`, or `mount` and `umount`. Ctrl-C, which every
    process of the foreground gets, would kill them half-way, and libfuse takes the end of its own
    wait for them (EINTR) as a failure, which it reports on standard error.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _captured_stderr(lines: list[str]) -> Iterator[None]:
    """Gathers what the body, C code and child processes included, writes to descriptor 2.

    libfuse and fusermount3 say there why a mount failed. The words before the reason are dropped.
    """
    # In memory: there may be no directory where a file could be made.
    with open(os.memfd_create("stderr"), "w+b", buffering=0) as capture:
        saved = os.dup(2)
        os.dup2(capture.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            capture.seek(0)
            text = os.fsdecode(capture.read())
            lines.extend(
                line.removeprefix("fuse: ").removeprefix("fusermount3: ")
                for line in filter(None, text.split("\n"))
            )
