"""A file of our own, opened and read once at mount time, to find how requests look in memory."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

import trio

from protozorfs.fs import requests
from protozorfs.fs.origins import Origin
from protozorfs.fs.requests import Layout, LibFuse, ReadRequest

if TYPE_CHECKING:
    from protozorfs.fs.interrupts import Interrupts
    from protozorfs.fs.origins import Origins

log = logging.getLogger(__name__)

_SELF_TEST_SECONDS = 2.0  # takes 3 ms; a mount that does not answer within this needs the fallback


class SelfTest:
    """Finds where the request stands, with an OPEN and a READ of our own on a hidden file.

    The file exists for lookups by the testing thread only, and only while the test runs.
    """

    NAME = b".protozorfs-self-test"
    # Unlike any number that a container may hold by chance; beyond those of files (`feeds.numbers`)
    # and below 2**63.
    INODE = 0x5E1F7E57_1A90_4D21
    HANDLE = 2**63 - 1
    OFFSET = 123_456_789
    SIZE = 4_242

    def __init__(self, origins: Origins) -> None:
        """`origins` learns by it, too."""
        self._origins = origins
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
        request = ReadRequest(inode=self.INODE, offset=self.OFFSET, size=self.SIZE)
        await self._origins.learn(request)
        if await self._origins.of(request) is not Origin.READ:
            log.warning("reads through the page cache cannot be told from others here")
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
            # A limiter of its own: what recovers feeds and syncs them may have all other threads.
            limiter = trio.CapacityLimiter(1)
            await trio.to_thread.run_sync(
                self._ask, mount_point, abandon_on_cancel=True, limiter=limiter
            )
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
