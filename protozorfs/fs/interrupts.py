"""Ends waits when the waiting process is sent a signal: Ctrl-C on `cat` must always work.

Without it a reader that waits for us cannot even be killed. If the self-test at mount time
succeeds, libfuse's interrupt callback is used (milliseconds, no cost while idle; `requests`), else
/proc is watched (`signals`).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from protozorfs.fs import requests
from protozorfs.fs.requests import Layout, LibFuse, OpenRequest, Request
from protozorfs.fs.signals import SignalWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

_TIMEOUT_SETTINGS = (
    "/proc/sys/fs/fuse/max_request_timeout",
    "/proc/sys/fs/fuse/default_request_timeout",
)
_TIMEOUT_MARGIN = 5.0  # seconds before the kernel's limit, which it checks in steps
_SELF_TEST_SECONDS = 2.0  # takes 3 ms; a mount that does not answer within this needs the fallback


def request_time_bound() -> float | None:
    """Seconds after which a request must be answered, or None.

    With `fs.fuse.max_request_timeout` set (Linux 6.15) the kernel ends the whole mount when one
    request takes longer.
    """
    limits = []
    for path in _TIMEOUT_SETTINGS:
        try:
            with open(path) as setting:
                limits.append(int(setting.read()))
        except FileNotFoundError:
            continue  # an older kernel: no limit
    shortest = min(filter(None, limits), default=None)
    return None if shortest is None else max(shortest - _TIMEOUT_MARGIN, shortest / 2)


class Interrupts:
    """Tells waits of the signals that their processes get, by the best means that works here."""

    def __init__(self, mount_point: str) -> None:
        self._signals = SignalWatch(mount_point)
        self._layout: Layout | None = None
        self._libfuse: LibFuse | None = None
        self._wakes: dict[int, Callable[[], None]] = {}
        self._keys = itertools.count(1)
        self._callback = requests.make_callback(self._wake)

    def enable(self, libfuse: LibFuse, layout: Layout) -> None:
        """Uses libfuse from now on."""
        self._libfuse = libfuse
        self._layout = layout

    async def run_fallback(self) -> None:
        """The task that serves waits which libfuse cannot tell about. Runs until cancelled."""
        await self._signals.run()

    @contextmanager
    def watch(self, request: Request, wake: Callable[[], None]) -> Iterator[None]:
        """While in the body, calls `wake` when the process behind the request gets a signal.

        To be used in the task that handles the request. `wake` may be called in the body only.
        """
        key = next(self._keys)
        self._wakes[key] = wake
        fallback: int | None = None
        task = trio.lowlevel.current_task()

        def arm() -> None:
            nonlocal fallback
            # It may run after the body, when the request is gone: then the key is gone, too.
            if key in self._wakes and not self._arm(task, request, key):
                pid = request.pid if isinstance(request, OpenRequest) else None
                fallback = self._signals.add(request.inode, pid, wake)

        # The task's coroutine can be looked into only while it sleeps.
        trio.lowlevel.current_trio_token().run_sync_soon(arm)
        try:
            yield
        finally:
            del self._wakes[key]
            if fallback is not None:
                self._signals.discard(fallback)

    def _arm(self, task: trio.lowlevel.Task, request: Request, key: int) -> bool:
        if self._layout is None or self._libfuse is None:
            return False
        pointer = requests.request_of(task, self._layout, request)
        if pointer is None:
            log.warning("a waiting request was not found; watching /proc for its signals")
            return False
        # The kernel sends one INTERRUPT per request; if it came before, this calls back at once.
        self._libfuse.on_interrupt(pointer, self._callback, key)
        return True

    def _wake(self, key: int) -> None:
        wake = self._wakes.get(key)  # a late INTERRUPT finds nothing
        if wake is not None:
            wake()


class SelfTest:
    """Finds where the request stands, with an OPEN and a READ of our own on a hidden file.

    The file exists for lookups by the testing thread only, and only while the test runs.
    """

    NAME = b".protozorfs-self-test"
    INODE = 0x5E1F7E57_1A90_4D21  # unlike any number that a container may hold by chance
    HANDLE = 2**63 - 1
    OFFSET = 123_456_789
    SIZE = 4_242

    def __init__(self) -> None:
        self._thread: int | None = None
        self._open_memory: bytes | None = None
        self._read_memory: bytes | None = None
        self._libfuse: LibFuse | None = None
        self._layout: Layout | None = None

    def is_asking(self, pid: int) -> bool:
        """True if this thread is the one of the running test."""
        return self._thread is not None and pid == self._thread

    async def handle_open(self) -> None:
        """To be awaited in the handler of the test's OPEN."""
        self._open_memory = await requests.container_memory()

    async def handle_read(self) -> None:
        """To be awaited in the handler of the test's READ."""
        self._read_memory = await requests.container_memory()
        if self._open_memory is None or self._read_memory is None or self._thread is None:
            return
        # The request must be looked at while it is alive: here.
        with contextlib.suppress(OSError, AttributeError):  # no libfuse of our kind: the fallback
            libfuse = LibFuse()
            self._layout = requests.find_layout(
                libfuse,
                open_memory=self._open_memory,
                inode=self.INODE,
                read_memory=self._read_memory,
                offset=self.OFFSET,
                size=self.SIZE,
                owner=(self._thread, os.geteuid()),
            )
            self._libfuse = libfuse

    async def run(self, mount_point: str, interrupts: Interrupts) -> bool:
        """Tests, and on success has the interrupts use libfuse. The mount must be answering."""
        with trio.move_on_after(_SELF_TEST_SECONDS):
            await trio.to_thread.run_sync(self._ask, mount_point, abandon_on_cancel=True)
        self._thread = None
        if self._layout is None or self._libfuse is None:
            log.warning("interrupts are not available here; watching /proc for signals")
            return False
        interrupts.enable(self._libfuse, self._layout)
        return True

    def _ask(self, mount_point: str) -> None:
        self._thread = threading.get_native_id()
        path = os.path.join(os.fsencode(mount_point), self.NAME)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            log.info("the self-test could not open its file: %s", error)
            return
        try:
            os.pread(descriptor, self.SIZE, self.OFFSET)
        except OSError as error:
            log.info("the self-test could not read its file: %s", error)
        finally:
            os.close(descriptor)
