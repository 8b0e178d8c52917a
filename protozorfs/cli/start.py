"""Where the installed commands begin, and where they end: signals and standard files.

Loading a command takes up to 300 ms, in which Python would answer Ctrl-C with a trace. So before
anything else is loaded, SIGINT gets its default action back: it ends the process, silently, while
nothing is open yet that would have to be closed. What has something to close receives the signal in
its event loop (`running`, `serving`).

Nothing is imported here but what costs next to nothing; a command is, when it is called.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from protozorfs.cli.signals import EXIT_SIGNAL
from protozorfs.cli.standard_files import drop_output, stand_in_for_closed

if TYPE_CHECKING:
    from collections.abc import Callable


def protozorfs() -> int:
    """The feed commands; returns the exit code."""
    _begin()
    from protozorfs.cli.commands import EXIT_FAILED, main

    return _end_of(main, "protozorfs", EXIT_FAILED)


def mount() -> int:
    """`mount.protozorfs`; returns the exit code."""
    _begin()
    from protozorfs.cli.mount import main
    from protozorfs.cli.mounting import PROGRAM
    from protozorfs.fs.mount_points import MOUNT_FAILURE

    return _end_of(main, PROGRAM, MOUNT_FAILURE)


def umount() -> int:
    """`umount.protozorfs`; returns the exit code."""
    _begin()
    from protozorfs.cli.umount import main
    from protozorfs.cli.unmounting import PROGRAM
    from protozorfs.fs.mount_points import MOUNT_FAILURE

    return _end_of(main, PROGRAM, MOUNT_FAILURE)


def _begin() -> None:
    # What the caller has ignored, as shells have for what runs in the background, stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    stand_in_for_closed()
    # A core file would have every key that was in use. Not by PR_SET_DUMPABLE, which would give
    # /proc/PID to root, where umount.protozorfs of the same user looks for the daemon.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Names are bytes, and text that the terminal cannot show is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _end_of(command: Callable[[], int], program: str, exit_failed: int) -> int:
    """The exit code of a command; what a signal has ended ends by that signal here.

    After any exit code a shell goes on with its loop or script; it stops after a command that
    Ctrl-C has ended.
    """
    try:
        code = command()
        print(end="", flush=True)  # what waits in the buffer; nothing if standard output is closed
    except BrokenPipeError:  # whoever reads our output has seen enough
        code = EXIT_SIGNAL + signal.SIGPIPE
    except OSError as error:
        from protozorfs.cli.text import complain, sentence

        complain(program, sentence(error))
        drop_output()
        code = exit_failed
    if code > EXIT_SIGNAL:
        number = code - EXIT_SIGNAL
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return code
