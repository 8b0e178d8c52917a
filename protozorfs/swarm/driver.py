"""Moves bytes between one TCP stream and one session. No protocol decisions are made here."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import RemoteProtocolError, first_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.swarm.session import Session

WRITE_SECONDS = 60.0  # a peer that takes nothing for so long is gone
MIN_RECEIVE = 16 * 1024
MAX_RECEIVE = 256 * 1024
LONG_BATCH = 0.010  # seconds; after a batch that took so long the next ones are smaller
SHORT_BATCH = 0.002

logger = logging.getLogger(__name__)


class Driver:
    """The tasks of one connection, from its first byte to its end.

    Attributes:
        fault: what the peer did wrong, if that ended the connection.
        why: the reason of the end in any case.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.why = "the peer closed the connection"
        self._scope = trio.CancelScope()
        self._output = trio.Event()

    def wake(self) -> None:
        """There may be something to send."""
        self._output.set()

    def drop(self, error: Exception) -> None:
        """Ends the connection for a fault of the peer's."""
        if self.fault is None:
            self.fault = error
            self.end(str(error))

    def end(self, why: str) -> None:
        """Ends the connection."""
        self.why = why
        self._scope.cancel()

    async def run(self, session: Session, stream: trio.SocketStream) -> None:
        """Returns when the connection has ended, for whatever reason, a bug of ours included."""
        with Boundary(logger, f"the connection with {session.name}") as boundary, self._scope:
            await self._move(session, stream)
        if boundary.error is not None:
            self.end("a bug of this program")

    async def _move(self, session: Session, stream: trio.SocketStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_loop, session, stream)
                await self._receive_loop(session, stream)
                nursery.cancel_scope.cancel()
        except* RemoteProtocolError as errors:
            self.drop(first_error(errors))
        # What trio makes of the socket's errors. A plain OSError would be one of the store.
        except* (trio.BrokenResourceError, trio.TooSlowError) as errors:
            self.end(f"the connection broke: {first_error(errors) or 'no progress'}")

    async def _receive_loop(self, session: Session, stream: trio.SocketStream) -> None:
        connection = session.connection
        size = MAX_RECEIVE // 4
        while True:
            deadline = connection.next_deadline()
            with trio.CancelScope() as waiting:
                if deadline is not None:
                    waiting.deadline = deadline
                data = await stream.receive_some(size)
            now = trio.current_time()
            # Silence, and an end in the middle, are how kills and networks end connections: nothing
            # that a peer is left alone for.
            if waiting.cancelled_caught:
                with self._broken_if_wrong():
                    connection.handle_timeout(now)
                self.wake()
                continue
            if not data:
                with self._broken_if_wrong():
                    connection.receive_eof()
                return
            session.receive(bytes(data), now)
            if connection.queued_bytes > connection.limits.hard_queue_bytes:
                raise RemoteProtocolError("asks and does not read")
            # A batch runs without a break; other files must not wait for long.
            took = trio.current_time() - now
            if took > LONG_BATCH:
                size = max(MIN_RECEIVE, size // 2)
            elif took < SHORT_BATCH and len(data) == size:
                size = min(MAX_RECEIVE, size * 2)

    @contextmanager
    def _broken_if_wrong(self) -> Iterator[None]:
        """Takes what the engine says against the peer for a connection that broke."""
        try:
            yield
        except RemoteProtocolError as error:
            self.end(f"the connection broke: {error}")

    async def _send_loop(self, session: Session, stream: trio.SocketStream) -> None:
        connection = session.connection
        while True:
            data = connection.bytes_to_send()
            if not data:
                await self._output.wait()
                self._output = trio.Event()
                continue
            with trio.fail_after(WRITE_SECONDS):
                await stream.send_all(data)
            session.drained()
