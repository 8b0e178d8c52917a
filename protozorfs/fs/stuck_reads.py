"""Gets the loop out of a read of the FUSE device that finds nothing to read.

The device is read when it says that there is a request. If whoever made it is killed in between,
the kernel takes it back, and the read waits for the next one, and the whole loop with it: libfuse's
descriptor blocks, and pyfuse3 3.5.0 takes EAGAIN for the end. A signal ends such a read, and
pyfuse3 goes on behind EINTR. Source: Linux fs/fuse/dev.c (request_wait_answer, fuse_dev_do_read).
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_SECONDS = 0.1  # between looks, of some 20 microseconds each
_SIGNAL = signal.SIGURG  # of no use to anybody else here, and ignored by default
_PLACE = "fuse_dev"  # where a thread sleeps that reads the device


@contextmanager
def no_stuck_reads() -> Iterator[None]:
    """While in the body, the calling thread, the main one, does not stay in such a read."""
    done = threading.Event()
    reader = threading.get_ident()
    place = Path(f"/proc/self/task/{threading.get_native_id()}/wchan")

    def look() -> None:
        while not done.wait(PERIOD_SECONDS):
            # The loop reads only what is there: asleep in it, it has been deceived.
            if place.read_text().startswith(_PLACE):
                signal.pthread_kill(reader, _SIGNAL)

    before = signal.signal(_SIGNAL, lambda _number, _frame: None)
    looking = threading.Thread(target=look, name="stuck reads", daemon=True)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()
        signal.signal(_SIGNAL, before)
