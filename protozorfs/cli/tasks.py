"""What every task of the program is waiting for, as text: SIGUSR1 writes it to the log."""

from __future__ import annotations

import gc
import logging
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

DUMP_SIGNAL = signal.SIGUSR1
_NUMBER = re.compile(r"-\d+$")  # of tasks that do the same, as pyfuse3 names its workers
_MAX_DEPTH = 100  # of a stack; ours have some twenty


async def dump_tasks_on_signal(
    *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Logs all tasks whenever the signal comes; started when it does. Runs until cancelled."""
    with trio.open_signal_receiver(DUMP_SIGNAL) as signals:
        task_status.started()
        async for _ in signals:
            # A warning, so that no setting leaves out what somebody asked for.
            for text in describe_tasks():
                log.warning("%s", text)


def describe_tasks() -> list[str]:
    """One text for each group of tasks that stand at the same place, most numerous first.

    Thousands of reads may be waiting; they differ in nothing that a stack shows.
    """
    stacks = Counter((_NUMBER.sub("", task.name), _stack(task)) for task in _tasks())
    total = f"{stacks.total()} tasks at {len(stacks)} places"
    return [
        total,
        *(f"{count} x {name}\n{stack}" for (name, stack), count in stacks.most_common()),
    ]


def _tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task, trio's own included."""
    root = trio.lowlevel.current_root_task()
    rest = [] if root is None else [root]
    while rest:
        task = rest.pop()
        yield task
        for nursery in task.child_nurseries:
            rest.extend(nursery.child_tasks)


def _stack(task: trio.lowlevel.Task) -> str:
    lines: list[str] = []
    waiter: object = task.coro
    while waiter is not None and len(lines) < _MAX_DEPTH:
        line = _line(waiter)
        if line:
            lines.append(f"  {line}")
        waiter = _awaited_by(waiter)
    return "\n".join(lines)


def _line(waiter: object) -> str:
    """Where a coroutine or generator stands."""
    frame = getattr(waiter, "cr_frame", None) or getattr(waiter, "gi_frame", None)
    name = getattr(waiter, "__qualname__", "")
    if frame is None:
        return name
    place = frame.f_code.co_filename
    if frame.f_lineno is not None:  # Cython does not tell
        place += f":{frame.f_lineno}"
    return f"{place} in {name}"


def _awaited_by(waiter: object) -> object:
    for attribute in ("cr_await", "gi_yieldfrom"):
        if hasattr(waiter, attribute):
            return getattr(waiter, attribute)
    # Coroutines of Cython, pyfuse3's, hide behind a wrapper that only the garbage collector
    # looks into; the handlers of file operations come after them.
    return next((each for each in gc.get_referents(waiter) if hasattr(each, "cr_await")), None)
