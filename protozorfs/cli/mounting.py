"""What `mount.protozorfs` does: checks, the daemon, the node, signals, the end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

import trio

from protozorfs.cli.daemonize import INTERRUPTED, run_as_daemon
from protozorfs.cli.logs import LOG_FILE, Logs
from protozorfs.cli.notify import ServiceManager
from protozorfs.cli.options import HelpWanted, MountCommand, parse_mount_command
from protozorfs.cli.tasks import dump_tasks_on_signal
from protozorfs.errors import ProtozorfsError, UsageError
from protozorfs.fs import mount_points
from protozorfs.fs.mount import serve
from protozorfs.fs.mount_points import MountError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from protozorfs.fs.ports import FeedsView
    from protozorfs.options import Options

log = logging.getLogger(__name__)

PROGRAM = "mount.protozorfs"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STOP_SECONDS = 1.5  # from the signal until what is still closing is cut short; all ends within 2

HELP = f"""\
usage: {PROGRAM} [STORE] MOUNTPOINT [--foreground] [--debug[=MODULE,...]]
                        [-f] [-s] [-n] [-v] [-o OPTION[,OPTION...]]

Shows the feeds of a store as files. STORE is a directory (made when it is missing) or "default".

  --foreground        stay; otherwise the command returns when the mount answers
  --debug[=MODULE,..] log in detail
  -f  do nothing (fake)     -s  pass over unknown options     -v  say what was done

options:
  port=N              TCP port to listen on; bind=ADDR: the address
  peer=HOST:PORT      a peer to dial (repeatable)
  bootstrap=HOST:PORT a DHT node to start from (repeatable)
  nodht, nolan, noportmap    do not find, or be found, that way
  dht_rate=N          DHT packets per second
  sparse              fetch only what is read; local: fetch nothing for readers
  read_timeout=S      seconds that a read waits for missing bytes
  head_timeout=S      seconds that the first open of an unknown feed waits
  cache_size=SIZE     bytes that followed feeds may take, such as 500M
  live_from=start|end, noinotify, force_append, ephemeral_id, debug[=MODULE:...]
  ro, sync, allow_other, ...: as libfuse knows them
"""


class HasFeeds(Protocol):
    """What `serve` needs of an open node."""

    @property
    def feeds(self) -> FeedsView: ...


class OpenNode(Protocol):
    """`app.open_node`, or what stands in for it."""

    def __call__(
        self, path: Path, options: Options, *, mount_point: str | None
    ) -> AbstractAsyncContextManager[HasFeeds]: ...


def run(arguments: Sequence[str], open_node: OpenNode) -> int:
    """Does what the arguments say; returns the exit code (see `mount`)."""
    try:
        command = parse_mount_command(arguments, dict(os.environ))
        if command.fake:
            return 0
        # Before the fork and the store: what the user can mend is said at once.
        mount_points.check_apart(command.mount.mount_point, command.store)
        mount_points.prepare(command.mount.mount_point)
        if command.foreground:
            return _run_in_foreground(command, open_node)
        code = run_as_daemon(lambda ready: _run_mount(command, open_node, ready, as_daemon=True))
        if code == 0:
            _say_mounted(command)
        return code
    except HelpWanted as wanted:
        print(HELP if str(wanted) == "help" else f"{PROGRAM} {version('protozorfs')}")
        return 0
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # before the receiver of signals is there, or after
        return INTERRUPTED


def _run_in_foreground(command: MountCommand, open_node: OpenNode) -> int:
    manager = ServiceManager(os.environ)

    def ready() -> None:
        manager.ready(_mounted_sentence(command))
        _say_mounted(command)

    return _run_mount(command, open_node, ready, manager.stopping)


def _mounted_sentence(command: MountCommand) -> str:
    return f"{command.store} is mounted at {command.mount.mount_point}"


def _say_mounted(command: MountCommand) -> None:
    if command.verbose:
        print(f"{PROGRAM}: {_mounted_sentence(command)}", flush=True)


def _run_mount(
    command: MountCommand,
    open_node: OpenNode,
    ready: Callable[[], None],
    stopping: Callable[[], None] = lambda: None,
    *,
    as_daemon: bool = False,
) -> int:
    """Serves until the mount ends or a signal comes.

    Calls `ready` once it answers, and `stopping` when it is about to end.

    Raises:
        UsageError: whatever goes wrong, as one sentence with its exit code.
    """

    logs = Logs(command.debug)
    logs.start(is_brief=as_daemon)  # the details of a daemon are for its file
    answers = False

    def mounted() -> None:
        nonlocal answers
        answers = True
        if as_daemon:
            logs.move_to(command.store / LOG_FILE)
        log.info("%s", _mounted_sentence(command))
        ready()

    try:
        trio.run(_serve_until_signal, command, open_node, logs, mounted, stopping)
    except Exception as error:
        # Nobody reads the sentence of a daemon any more; before, the trace is for --debug.
        level = logging.ERROR if answers and as_daemon else logging.DEBUG
        log.log(level, "the mount failed", exc_info=error)
        raise _as_usage_error(_first(error)) from None
    return 0


def _as_usage_error(error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return error
    if isinstance(error, (ProtozorfsError, OSError)):
        return MountError(str(error))
    return MountError(f"internal error, see --debug: {type(error).__name__}: {error}")


def _first(error: Exception) -> Exception:
    """The first plain exception of a group of groups: nurseries wrap what goes wrong in them."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _serve_until_signal(
    command: MountCommand,
    open_node: OpenNode,
    logs: Logs,
    mounted: Callable[[], None],
    stopping: Callable[[], None],
) -> None:
    with trio.open_signal_receiver(*_STOP_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(dump_tasks_on_signal)
            stop = _Stop()
            nursery.start_soon(stop.wait_signal, signals)
            with stop.whole:
                async with open_node(
                    command.store, command.options, mount_point=command.mount.mount_point
                ) as node:
                    with stop.serving:
                        await _serve(node.feeds, command, logs, mounted)
                    stopping()
            log.info("%s is unmounted and closed", command.mount.mount_point)
            nursery.cancel_scope.cancel()


async def _serve(
    feeds: FeedsView, command: MountCommand, logs: Logs, mounted: Callable[[], None]
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, feeds, command.mount, lambda: logs.recent_lines)
        mounted()


class _Stop:
    """What a signal ends: the serving at once, so that the store is closed in order after it."""

    def __init__(self) -> None:
        self.whole = trio.CancelScope()
        self.serving = trio.CancelScope()

    async def wait_signal(self, signals: AsyncIterator[int]) -> None:
        """Waits for the first signal and acts on it."""
        async for number in signals:
            log.info("ending: %s", signal.Signals(number).name)
            self.serving.cancel()
            self.whole.deadline = trio.current_time() + _STOP_SECONDS
            return
