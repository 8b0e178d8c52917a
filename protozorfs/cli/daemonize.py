"""Becoming a daemon: the command returns when the daemon is ready, or says why it is not."""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from protozorfs.cli.signals import EXIT_SIGNAL, STOP_SIGNALS, stop_signals
from protozorfs.errors import UsageError
from protozorfs.fs.mount_points import MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_READY = b"\0"  # else the pipe brings the exit code as one byte, and the message
_MAX_PART = 4096  # bytes of a message that one read brings


def run_as_daemon(work: Callable[[Callable[[], None]], int]) -> int:
    """Runs `work(ready)` in a child process and returns when it called `ready`.

    Until the child is ready it shares the terminal, so that messages arrive, and the process group:
    a mount point of the kernel's automounter lets nobody outside of the group of who asked for the
    mount come near it before it is mounted. Then the child is the leader of its own session, its
    standard files are /dev/null and its directory is /. In the child this returns what `work`
    returns.

    Raises:
        UsageError: the one that `work` raised, or the child died.
    """
    reading, writing = os.pipe()
    # A signal that comes meanwhile is kept until there is somebody to pass it on to the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    child = os.fork()
    if child:
        os.close(writing)
        return _await_ready(child, reading, mask)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(reading)
    return _work(work, writing)


def _await_ready(child: int, pipe: int, mask: Collection[int]) -> int:
    with _heard(mask) as signals, open(pipe, "rb", buffering=0) as messages:
        message = b""
        while True:
            readable, _, _ = select.select([pipe, signals], [], [])
            if pipe not in readable:
                return _stop(child, os.read(signals, 1)[0])
            part = messages.read(_MAX_PART)
            if not part:
                break
            message += part
        if message == _READY:
            # Done: what comes between here and the end of this process would claim that it is not.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            return 0
    if message:
        raise UsageError(message[1:].decode(errors="replace"), message[0])
    raise MountError("the daemon ended before it could answer")


def _stop(child: int, number: int) -> int:
    """Who stops the command stops what it started; it returns when nothing is left of that."""
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    return EXIT_SIGNAL + number


@contextmanager
def _heard(mask: Collection[int]) -> Iterator[int]:
    """A descriptor with the number of every signal that comes, or has come, as a byte.

    Those that do not stop a command are left alone. `mask` are the signals that stay blocked.
    """
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.getsignal(number) for number in stop_signals()}
    for number in before:
        signal.signal(number, lambda _number, _frame: None)  # the number is in the descriptor
    signal.set_wakeup_fd(writing)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _work(work: Callable[[Callable[[], None]], int], pipe: int) -> int:
    is_ready = False

    def ready() -> None:
        nonlocal is_ready
        is_ready = True
        os.setsid()
        _leave_standard_files()
        os.chdir("/")
        os.write(pipe, _READY)
        os.close(pipe)

    try:
        return work(ready)
    except UsageError as error:
        if is_ready:
            raise
        os.write(pipe, bytes([error.exit_code]) + str(error).encode(errors="replace"))
        os.close(pipe)
        return error.exit_code


def _leave_standard_files() -> None:
    """Points standard input and outputs at /dev/null."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
    except FileNotFoundError:
        # A container may have no device but FUSE. Anything will do that nothing can be read from
        # or written to, as long as the three numbers are not given to other files.
        null = os.open("/", os.O_PATH)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
