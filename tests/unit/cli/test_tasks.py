"""protozorfs.cli.tasks"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from protozorfs.cli.tasks import DUMP_SIGNAL, describe_tasks, dump_tasks_on_signal

if TYPE_CHECKING:
    import pytest


async def waiting_for_ever(event: trio.Event) -> None:
    await event.wait()


async def test_tasks_at_the_same_place_are_one_text(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(waiting_for_ever, trio.Event())
        await trio.sleep(1)
        total, first, *_ = describe_tasks()
        nursery.cancel_scope.cancel()
    assert int(total.split()[0]) > 1000
    assert first.startswith("1000 x ")
    assert "waiting_for_ever" in first
    assert f"{__file__}:{waiting_for_ever.__code__.co_firstlineno + 1} in waiting" in first


async def test_the_signal_logs_them(caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(dump_tasks_on_signal)
        nursery.start_soon(waiting_for_ever, trio.Event())
        for _ in range(2):
            caplog.clear()
            os.kill(os.getpid(), DUMP_SIGNAL)
            with trio.fail_after(10):
                while "waiting_for_ever" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
