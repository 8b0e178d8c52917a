"""protozorfs.cli.running"""

from __future__ import annotations

import pytest
import trio

from protozorfs.cli.running import run_async
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
