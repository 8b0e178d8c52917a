"""protozorfs.cli.running"""

from __future__ import annotations

import signal

import pytest
import trio

from protozorfs.cli.running import run_async
from protozorfs.cli.signals import EndedBySignal, stop_signals
from protozorfs.errors import StoreError, UsageError


async def raise_in_nurseries(*errors: BaseException) -> None:
    async def fail(error: BaseException) -> None:
        raise error

    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        outer.start_soon(trio.sleep_forever)
        for error in errors:
            inner.start_soon(fail, error)


@pytest.mark.parametrize(
    "error", [UsageError("a sentence"), OSError(28, "full"), KeyboardInterrupt()], ids=repr
)
def test_what_a_user_is_told_comes_out_as_it_was_raised(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run_async(raise_in_nurseries, error)
    assert caught.value is error


def test_a_bug_is_not_hidden_behind_an_error() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        run_async(raise_in_nurseries, StoreError("told"), ZeroDivisionError())
    assert caught.value.subgroup(ZeroDivisionError) is not None


def test_results_come_through() -> None:
    async def answer() -> int:
        return 42

    assert run_async(answer) == 42


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_after_it_has_closed_what_it_opened(number: signal.Signals) -> None:
    closed = []

    async def until_cancelled() -> None:
        try:
            signal.raise_signal(number)
            await trio.sleep_forever()
        finally:
            closed.append(number)

    with pytest.raises(EndedBySignal) as caught:
        run_async(until_cancelled)
    assert caught.value.number == number
    assert closed == [number]


def test_what_the_caller_has_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert set(stop_signals()) == {signal.SIGTERM, signal.SIGINT}
    finally:
        signal.signal(signal.SIGHUP, before)
    assert set(stop_signals()) == {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def test_sigint_ends_what_a_script_has_started_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert signal.SIGINT in stop_signals()
    finally:
        signal.signal(signal.SIGINT, before)
