"""Serving a mount: the log, the node, the signals that end it."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from protozorfs import descriptors
from protozorfs.cli.logs import Logs
from protozorfs.cli.signals import EXIT_SIGNAL, EndedBySignal, stop_signals
from protozorfs.cli.tasks import dump_tasks_on_signal
from protozorfs.cli.text import printable_text, sentence
from protozorfs.errors import ProtozorfsError, UsageError, first_error
from protozorfs.fs.mount import serve
from protozorfs.fs.mount_points import MountError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from protozorfs.cli.options import MountCommand
    from protozorfs.fs.ports import FeedsView
    from protozorfs.options import Options

log = logging.getLogger(__name__)

OPENING_SECONDS = 10.0  # between two times that somebody is told
_STOP_SECONDS = 1.5  # from the signal until what is still closing is cut short; all ends within 2


class HasFeeds(Protocol):
    """What `serve` needs of an open node."""

    @property
    def feeds(self) -> FeedsView: ...


class OpenNode(Protocol):
    """`app.open_node`, or what stands in for it."""

    def __call__(
        self, path: Path, options: Options, *, mount_point: str | None
    ) -> AbstractAsyncContextManager[HasFeeds]: ...


def run_mount(
    command: MountCommand,
    open_node: OpenNode,
    ready: Callable[[], None],
    stopping: Callable[[], None] = lambda: None,
    opening: Callable[[float], None] = lambda seconds: None,
    *,
    as_daemon: bool = False,
) -> int:
    """Serves until the mount ends or a signal comes; returns the exit code.

    Calls `ready` once it answers, and `stopping` when it is about to end; `opening` now and then
    while the store is being opened, with the seconds within which there is more to say.

    Raises:
        UsageError: whatever goes wrong, as one sentence with its exit code.
    """
    logs = Logs(command.debug)
    logs.start(is_brief=as_daemon)  # the details of a daemon are for its file
    answers = False

    def mounted() -> None:
        nonlocal answers
        answers = True
        os.umask(0o077)  # the store is its user's alone, whatever is made in it from now on
        if as_daemon:
            logs.move_to(None if command.options.read_only else command.store)
        log.info("%s", command.mounted_sentence)
        ready()

    descriptors.raise_limit()
    try:
        number = trio.run(_serve_until_signal, command, open_node, logs, mounted, stopping, opening)
    except Exception as error:
        cause = first_error(error)
        if isinstance(cause, EndedBySignal):
            return EXIT_SIGNAL + cause.number
        if answers:
            log.error("the mount failed; it is dead until it is mounted again", exc_info=error)
        else:  # the trace is for --debug
            log.debug("the mount failed", exc_info=error)
        raise _as_usage_error(cause) from None
    return 0 if answers or number is None else EXIT_SIGNAL + number


def _as_usage_error(error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return error
    if isinstance(error, OSError):
        return MountError(sentence(error))
    if isinstance(error, ProtozorfsError):
        return MountError(str(error))
    return MountError(f"internal error, see --debug: {type(error).__name__}: {error}")


async def _serve_until_signal(
    command: MountCommand,
    open_node: OpenNode,
    logs: Logs,
    mounted: Callable[[], None],
    stopping: Callable[[], None],
    opening: Callable[[float], None],
) -> int | None:
    """Returns the signal that ended it, if one did."""
    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(dump_tasks_on_signal)
            stop = _Stop()
            nursery.start_soon(stop.wait_signal, signals)
            with stop.whole:
                opening_ended = trio.CancelScope()
                nursery.start_soon(_tell_opening, opening, opening_ended)
                async with open_node(
                    command.store, command.options, mount_point=command.mount.mount_point
                ) as node:
                    opening_ended.cancel()
                    await _serve(node.feeds, command, logs, mounted, stop)
                    stopping()
            log.info("%s is unmounted and closed", printable_text(command.mount.mount_point))
            nursery.cancel_scope.cancel()
    return stop.number


async def _tell_opening(opening: Callable[[float], None], scope: trio.CancelScope) -> None:
    """What an unclean stop has left may take longer than a service manager waits by itself."""
    with scope:
        while True:
            await trio.sleep(OPENING_SECONDS)
            log.info("the store is still being opened, after an unclean stop")
            opening(2 * OPENING_SECONDS)


async def _serve(
    feeds: FeedsView,
    command: MountCommand,
    logs: Logs,
    mounted: Callable[[], None],
    stop: _Stop,
) -> None:
    """Raises EndedBySignal: it came before the mount answered."""
    serves = partial(serve, stop=stop.serving)
    async with trio.open_nursery() as nursery:
        with stop.starting:
            await nursery.start(serves, feeds, command.mount, lambda: logs.recent_lines)
            mounted()
        if stop.starting.cancelled_caught and stop.number is not None:
            raise EndedBySignal(stop.number)


class _Stop:
    """What a signal ends: the serving at once, so that the store is closed in order after it."""

    def __init__(self) -> None:
        self.whole = trio.CancelScope()
        self.starting = trio.CancelScope()
        self.serving = trio.Event()
        self.number: int | None = None

    async def wait_signal(self, signals: AsyncIterator[int]) -> None:
        """Waits for the first signal and acts on it."""
        self.number = await anext(signals)
        log.info("ending: %s", signal.Signals(self.number).name)
        self.starting.cancel()
        self.serving.set()
        self.whole.deadline = trio.current_time() + _STOP_SECONDS
