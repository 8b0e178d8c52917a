"""Ends waits when the waiting process is sent a signal: Ctrl-C on `cat` must always work.

Without it a reader that waits for us cannot even be killed. If the self-test at mount time
succeeds, libfuse's interrupt callback is used (milliseconds, no cost while idle; `requests`), else
/proc is watched (`signals`).
"""

from __future__ import annotations

import itertools
import logging
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
