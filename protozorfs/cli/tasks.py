"""What every task of the program is waiting for, as text: SIGUSR1 writes it to the log."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

DUMP_SIGNAL = signal.SIGUSR1


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
    stacks = Counter((task.name, _stack(task)) for task in _tasks())
    total = f"{stacks.total()} tasks at {len(stacks)} places"
    return [
        total,
        *(f"{count} x {name}\n{stack}" for (name, stack), count in stacks.most_common()),
    ]


def _tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task but trio's own."""
    root = trio.lowlevel.current_root_task()
    rest = [] if root is None else [root]
    while rest:
        task = rest.pop()
        yield task
        for nursery in task.child_nurseries:
            rest.extend(nursery.child_tasks)


def _stack(task: trio.lowlevel.Task) -> str:
    return "\n".join(
        f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
        for frame, line in task.iter_await_frames()
    )
