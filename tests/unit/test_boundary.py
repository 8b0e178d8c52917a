"""What a boundary keeps in, and what it lets through."""

from __future__ import annotations

import logging

import pytest
import trio

from protozorfs.boundary import Boundary

logger = logging.getLogger("protozorfs.test")


def test_a_bug_is_logged_with_its_trace_and_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    with Boundary(logger, "a thing") as boundary:
        raise ZeroDivisionError("of ours")
    assert isinstance(boundary.error, ZeroDivisionError)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "a bug: a thing failed"
    assert "Traceback" in caplog.text
    assert "of ours" in caplog.text


def test_nothing_is_said_of_what_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    with Boundary(logger, "a thing") as boundary:
        pass
    assert boundary.error is None
    assert not caplog.records


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_passes(ending: type[BaseException]) -> None:
    with pytest.raises(ending), Boundary(logger, "a thing"):
        raise ending


async def test_cancellation_passes_beside_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in one of two tasks, while the whole is being cancelled."""
    boundary = Boundary(logger, "a thing")

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError("while ending")

    with trio.CancelScope() as scope:
        with boundary:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        raise AssertionError("it must not go on behind a cancelled body")
    assert scope.cancelled_caught
    assert "while ending" in caplog.text


def test_a_plain_group_is_a_bug_and_a_group_of_endings_is_not() -> None:
    with Boundary(logger, "a thing") as boundary:
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    assert isinstance(boundary.error, ValueError)
    with pytest.raises(BaseExceptionGroup), Boundary(logger, "a thing"):
        raise BaseExceptionGroup("ending", [KeyboardInterrupt()])
