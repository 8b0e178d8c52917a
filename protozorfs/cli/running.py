"""Running a command's coroutine: a signal ends it in order, errors come out as they were raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from protozorfs import descriptors
from protozorfs.cli.signals import EndedBySignal, stop_signals
from protozorfs.errors import ProtozorfsError, first_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")


def run_async(function: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """The result of an async function.

    Nurseries wrap what passes through them in groups; of a group that holds only what a user is
    told (errors of ours and of the system, Ctrl-C), the first is raised in its place.

    Raises:
        EndedBySignal: one came; the function was cancelled.
    """
    descriptors.raise_limit()
    try:
        return trio.run(_until_signal, function, arguments)
    except BaseExceptionGroup as group:
        told, others = group.split((ProtozorfsError, OSError, KeyboardInterrupt))
        if told is None or others is not None:
            raise
        raise first_error(told) from None


async def _until_signal(function: Callable[..., Awaitable[T]], arguments: tuple[object, ...]) -> T:
    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_raise_signal, signals)
            result = await function(*arguments)
            nursery.cancel_scope.cancel()
    return result


async def _raise_signal(signals: AsyncIterator[int]) -> None:
    raise EndedBySignal(await anext(signals))
