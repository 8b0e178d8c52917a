"""Running a command's coroutine so that its errors come out as they were raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from protozorfs.errors import ProtozorfsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def run_async(function: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """The result of an async function.

    Nurseries wrap what passes through them in groups; of a group that holds only what a user is
    told (errors of ours and of the system, Ctrl-C), the first is raised in its place.
    """
    try:
        return trio.run(function, *arguments)
    except BaseExceptionGroup as group:
        told, others = group.split((ProtozorfsError, OSError, KeyboardInterrupt))
        if told is None or others is not None:
            raise
        raise _first(told) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
