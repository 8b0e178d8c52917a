"""Gets the loop out of a read of the FUSE device that finds nothing to read.

The device is read when it says that there is a request. Before the read the kernel may take it
back: a request when whoever made it is killed, an INTERRUPT when its request is answered. The read
then waits for the next one, and the whole process with it: libfuse's descriptor blocks, pyfuse3
3.5.0 reads it without letting go of the interpreter's lock, and takes EAGAIN for the end. A signal
ends such a read, and pyfuse3 goes on behind EINTR. No thread of ours could send it, so the kernel
does, from a timer. Source: Linux fs/fuse/dev.c (request_wait_answer, fuse_request_end,
fuse_dev_do_read).
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_SECONDS = 0.25  # between signals, which cost a loop at rest some 300 microseconds each


@contextmanager
def no_stuck_reads() -> Iterator[None]:
    """While in the body, the main thread, which must be the caller, does not stay in such a read.

    SIGALRM and the timer of the process belong to it.
    """
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, PERIOD_SECONDS, PERIOD_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
