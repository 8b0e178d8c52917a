"""What `mount.protozorfs` does before there is a mount: arguments, checks, the daemon.

What takes long to load (`serving`, and the node) is loaded when nothing is left to complain about.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

from protozorfs.cli.daemonize import run_as_daemon
from protozorfs.cli.logs import check_modules
from protozorfs.cli.notify import ServiceManager
from protozorfs.cli.options import (
    USAGE_EXIT_CODE,
    HelpWanted,
    MountCommand,
    parse_mount_command,
)
from protozorfs.cli.standard_files import drop_output
from protozorfs.cli.text import complain, sentence
from protozorfs.errors import UsageError
from protozorfs.fs import mount_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.cli.serving import OpenNode

PROGRAM = "mount.protozorfs"

HELP = f"""\
usage: {PROGRAM} [STORE] MOUNTPOINT [--foreground] [--debug[=MODULE,...]]
                        [-f] [-s] [-n] [-v] [-o OPTION[,OPTION...]]

Shows the feeds of a store as files. STORE is a directory (made when it is
missing) or "default".

  --foreground        stay; otherwise the command returns when the mount answers
  --debug[=MODULE,..] log in detail
  -f  do nothing (fake)     -s  pass over unknown options     -v  say what was done

options:
  port=N              TCP port to listen on; listen=ADDR (or bind=ADDR): the address
  peer=HOST:PORT      a peer to dial (repeatable)
  bootstrap=HOST:PORT a DHT node to start from (repeatable)
  nodht, nolan, noportmap    do not find, or be found, that way
  dht_rate=N          DHT packets per second
  sparse              fetch only what is read; local: fetch nothing for readers
  read_timeout=S      seconds that a read waits for missing bytes
  head_timeout=S      seconds that an open waits of a feed that is not found yet
  cache_size=SIZE     bytes that followed feeds may take, such as 500M
  live_from=start|end, noinotify, force_append, ephemeral_id, debug[=MODULE:...]
  ro, sync, allow_other, ...: as libfuse knows them
"""


def run(arguments: Sequence[str], open_node: OpenNode) -> int:
    """Does what the arguments say; returns the exit code (see `mount`)."""
    try:
        command = parse_mount_command(arguments, dict(os.environ))
        check_modules(command.debug or (), USAGE_EXIT_CODE)
        if command.fake:
            return 0
        # Before the fork and the store: what the user can mend is said at once.
        mount_points.check_apart(command.mount.mount_point, command.store)
        mount_points.check(command.mount.mount_point)
        return _mount(command, open_node)
    except HelpWanted as wanted:
        print(HELP if str(wanted) == "help" else f"{PROGRAM} {version('protozorfs')}")
        return 0
    except UsageError as error:
        complain(PROGRAM, str(error))
        return error.exit_code


def _mount(command: MountCommand, open_node: OpenNode) -> int:
    from protozorfs.cli.serving import run_mount  # trio and pyfuse3

    if command.foreground:
        manager = ServiceManager(os.environ)

        def opening(seconds: float) -> None:
            manager.still_starting(f"opening {command.store}", seconds)

        def ready() -> None:
            manager.ready(command.mounted_sentence)
            try:
                _say_mounted(command)
            except OSError as error:  # it is mounted all the same
                complain(PROGRAM, f"standard output: {sentence(error)}")
                drop_output()

        return run_mount(command, open_node, ready, manager.stopping, opening)
    code = run_as_daemon(lambda ready: run_mount(command, open_node, ready, as_daemon=True))
    if code == 0:
        _say_mounted(command)
    return code


def _say_mounted(command: MountCommand) -> None:
    if command.verbose:
        print(f"{PROGRAM}: {command.mounted_sentence}", flush=True)
