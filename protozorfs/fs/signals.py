"""The fallback for interrupts: looks in /proc for signals that wait for a thread of ours.

A thread that waits for an answer of ours does not act on its signals until we answer, but /proc
shows them as pending. Which thread made which READ is unknown, so the processes that hold the file
open are looked at, and all that waits for that file is woken. It costs about 5 % of a processor for
a hundred readers, nothing while nobody waits.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD = 0.2  # seconds between two looks; a signal then ends a wait within about 215 ms

_FIELDS = (b"SigPnd:", b"ShdPnd:", b"SigBlk:")


def has_pending_signal(tid: int) -> bool:
    """True if a thread has a pending signal that it does not block, or is gone."""
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            text = status.read()
    except OSError as error:  # gone; but while no descriptor is left nothing is known
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    values = {line[:7]: int(line[7:], 16) for line in text.splitlines() if line[:7] in _FIELDS}
    pending = values[b"SigPnd:"] | values[b"ShdPnd:"]
    return bool(pending & ~values[b"SigBlk:"])


def signalled_inodes(mount_point: str) -> set[int]:
    """The inodes of the mount that a process with a pending signal holds open.

    Only links and `fdinfo` are read: a stat of the files would call into this very process.
    """
    inodes: set[int] = set()
    prefix = os.path.join(mount_point, "")
    for pid in _processes():
        descriptors = _open_below(pid, prefix)
        if descriptors and any(has_pending_signal(tid) for tid in _threads(pid)):
            inodes.update(_inodes_of(pid, descriptors))
    return inodes


def _processes() -> list[str]:
    try:
        return list(filter(str.isdigit, os.listdir("/proc")))
    except OSError:  # no descriptor is left for it; there is another look soon
        return []


def _open_below(pid: str, prefix: str) -> list[str]:
    directory = f"/proc/{pid}/fd"
    try:
        return [fd for fd in os.listdir(directory) if _target(directory, fd).startswith(prefix)]
    except OSError:  # it ended, or is not ours to look at
        return []


def _target(directory: str, descriptor: str) -> str:
    try:
        return os.readlink(os.path.join(directory, descriptor))
    except OSError:  # closed meanwhile
        return ""


def _threads(pid: str) -> list[int]:
    try:
        return [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _inodes_of(pid: str, descriptors: list[str]) -> set[int]:
    inodes = set()
    for descriptor in descriptors:
        try:
            with open(f"/proc/{pid}/fdinfo/{descriptor}") as info:
                lines = dict(line.split(":", 1) for line in info)
        except OSError:
            continue
        if "ino" in lines:  # since Linux 5.14
            inodes.add(int(lines["ino"]))
    return inodes


class SignalWatch:
    """Wakes waits whose process was sent a signal, by looking every `PERIOD` seconds.

    `run` is its one task.
    """

    def __init__(self, mount_point: str) -> None:
        self._mount_point = mount_point
        self._waits: dict[int, tuple[int, int | None, Callable[[], None]]] = {}
        self._has_waits = trio.Event()
        self._next_key = 0

    def add(self, inode: int, pid: int | None, wake: Callable[[], None]) -> int:
        """Registers a wait; `pid` if the thread is known. Returns the key for `discard`."""
        self._next_key += 1
        self._waits[self._next_key] = (inode, pid, wake)
        self._has_waits.set()
        return self._next_key

    def discard(self, key: int) -> None:
        """Ends a registration."""
        self._waits.pop(key, None)

    async def run(self) -> None:
        """Looks until it is cancelled; sleeps while nobody waits."""
        while True:
            await self._has_waits.wait()
            await trio.sleep(PERIOD)
            inodes = await trio.to_thread.run_sync(signalled_inodes, self._mount_point)
            for inode, pid, wake in list(self._waits.values()):
                if inode in inodes or (pid is not None and has_pending_signal(pid)):
                    wake()
            if not self._waits:
                self._has_waits = trio.Event()
