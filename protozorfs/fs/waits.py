"""All that a handler waits for passes through here: signals, time, the mount's end, a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from protozorfs.errors import Closing
from protozorfs.fs.errnos import Interrupted, TooManyWaits, WaitTimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from protozorfs.fs.interrupts import Interrupts
    from protozorfs.fs.requests import Request

Value = TypeVar("Value")

MAX_WAITS = 20_000  # each holds a task and 1 MiB of address space (libfuse's buffer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long handlers wait, in seconds; infinity is for ever, 0 not at all."""

    read_seconds: float = float("inf")
    head_seconds: float = 10.0


class _Wait:
    """One wait: the scope that ends it, and why it was ended."""

    __slots__ = ("reason", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.reason: type[Interrupted | Closing] | None = None

    def interrupt(self) -> None:
        """A signal came."""
        self.end(Interrupted)

    def end(self, reason: type[Interrupted | Closing]) -> None:
        """Ends it; the first reason counts."""
        if self.reason is None:
            self.reason = reason
        self.scope.cancel()


class Waits:
    """The waits of one mount."""

    def __init__(
        self,
        interrupts: Interrupts,
        *,
        bound_seconds: float | None = None,
        limit: int = MAX_WAITS,
    ) -> None:
        """`bound_seconds` is the kernel's limit for one request, if it has one."""
        self._interrupts = interrupts
        self._bound_seconds = bound_seconds
        self._limit = limit
        self._waits: set[_Wait] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waits)

    async def run(
        self, request: Request, wait: Callable[[], Awaitable[Value]], deadline: float
    ) -> Value:
        """What `wait()` returns, in the task that handles `request`; `deadline` is of trio's clock.

        Raises:
            Interrupted: the process was sent a signal, or the kernel's own limit is near.
            WaitTimedOut: the deadline passed.
            Closing: the mount ends.
            TooManyWaits: at the limit.
            Whatever `wait` raises.
        """
        if self._is_closed:
            raise Closing("the mount is ending")
        if len(self._waits) >= self._limit:
            raise TooManyWaits(f"{self._limit} reads wait already")
        one = _Wait()
        bound = (
            trio.current_time() + self._bound_seconds
            if self._bound_seconds is not None
            else float("inf")
        )
        one.scope.deadline = min(deadline, bound)
        self._waits.add(one)
        try:
            with one.scope, self._interrupts.watch(request, one.interrupt):
                await trio.lowlevel.checkpoint()  # a wait that is over must not starve the rest
                return await wait()
        finally:
            self._waits.discard(one)
        # Only the scope's own cancellation comes here.
        if one.reason is not None:
            raise one.reason("the wait was ended")
        raise WaitTimedOut("waited in vain") if deadline <= bound else Interrupted("kernel's limit")

    def close(self) -> None:
        """Ends all waits, and those to come, with `Closing`."""
        self._is_closed = True
        for one in list(self._waits):
            one.end(Closing)
