"""The operations of a node: those that wait for their turn, those that run, what they found."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from protozorfs.dht.budget import Priority
from protozorfs.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protozorfs.dht.endpoint import Family
    from protozorfs.dht.lookup import Lookup
    from protozorfs.dht.operations import Operation, OperationEvent

# Running at once, by priority: what matters most always finds a place besides the rest.
MAX_RUNNING = {
    Priority.OWNED: 64,
    Priority.READER: 48,
    Priority.UPKEEP: 32,
    Priority.FOLLOWED: 16,
    Priority.SAMPLE: 8,
}
MAX_WAITING = 1024  # whoever has more to ask must spread it over time


@dataclass(order=True, slots=True)
class _Turn:
    priority: Priority
    number: int  # first come, first served
    operation: Operation = field(compare=False)


OperationT = TypeVar("OperationT", bound="Operation")


class OperationQueue:
    """Starts operations by priority, and forgets those that are done."""

    def __init__(self) -> None:
        self.running: list[Operation] = []
        self._waiting: list[_Turn] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self.running) + len(self._waiting)

    def add(self, operation: OperationT) -> OperationT:
        """Lets an operation wait for its turn.

        Raises:
            LocalProtocolError: too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            self._forget_cancelled()
        if len(self._waiting) >= MAX_WAITING:
            raise LocalProtocolError("too many DHT operations wait")
        heapq.heappush(self._waiting, _Turn(operation.priority, next(self._numbers), operation))
        return operation

    def run_now(
        self, operation: OperationT, lookups: Mapping[Family, Lookup], now: float
    ) -> OperationT:
        """Starts an operation at once, for upkeep."""
        operation.start(lookups, now)
        self.running.append(operation)
        return operation

    def start_due(
        self, make_lookups: Callable[[Operation, float], Mapping[Family, Lookup]], now: float
    ) -> bool:
        """Starts what waits, as far as there is room for its priority; True if anything did."""
        started = False
        while self._waiting:
            operation = self._waiting[0].operation
            if not operation.is_done:
                if len(self.running) >= MAX_RUNNING[operation.priority]:
                    break
                operation.start(make_lookups(operation, now), now)
                self.running.append(operation)
                started = True
            heapq.heappop(self._waiting)
        return started

    def collect(self) -> list[OperationEvent]:
        """Takes the events of all running operations, and forgets those that are done."""
        events: list[OperationEvent] = []
        for operation in self.running:
            events.extend(operation.events)
            operation.events.clear()
        if any(operation.is_done for operation in self.running):
            self.running = [op for op in self.running if not op.is_done]
        return events

    def next_deadline(self) -> float | None:
        """The earliest of the operations' deadlines."""
        deadlines = [op.deadline for op in self.running if op.deadline is not None]
        return min(deadlines, default=None)

    def handle_timeout(self, now: float) -> None:
        """Tells the operations whose time is over."""
        for operation in self.running:
            if operation.deadline is not None and operation.deadline <= now:
                operation.on_deadline(now)

    def _forget_cancelled(self) -> None:
        self._waiting = [turn for turn in self._waiting if not turn.operation.is_done]
        heapq.heapify(self._waiting)
