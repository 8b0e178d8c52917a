"""Changes of names: one at a time, with their disk work in a thread."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import trio

from protozorfs.errors import Closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


class Changes:
    """Keeps changes of names apart, and the event loop free of their syncs.

    While the disk works on one, everything else goes on: what is known in memory changes in the
    trio thread, after the disk work has returned.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._thread = trio.CapacityLimiter(1)  # not one of those that may all be syncing feeds
        self._have_ended = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """In the body no other change is under way, and a cancellation waits for its end.

        Raises:
            Closing: the node shuts down.
        """
        async with self._lock:
            if self._have_ended:
                raise Closing("the node is shutting down")
            with trio.CancelScope(shield=True):  # half a change is none that memory could follow
                yield

    async def run(
        self,
        work: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> _Result:
        """The result of disk work of the change under way, done in a thread."""
        return await trio.to_thread.run_sync(
            partial(work, *arguments, **named), limiter=self._thread
        )

    async def end(self) -> None:
        """Returns when no change is under way; from now on none begins."""
        self._have_ended = True
        with trio.CancelScope(shield=True):
            async with self._lock:
                pass
