"""protozorfs.fs.stuck_reads"""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from protozorfs.fs.stuck_reads import no_stuck_reads


def test_a_read_that_finds_nothing_ends_though_no_other_thread_can_run() -> None:
    before = signal.getsignal(signal.SIGALRM)
    reading, writing = os.pipe()
    # As pyfuse3 reads: with the interpreter's lock held. Python's own read goes on behind EINTR.
    libc = ctypes.PyDLL(None, use_errno=True)
    with no_stuck_reads():
        assert libc.read(reading, ctypes.create_string_buffer(1), 1) == -1
        assert ctypes.get_errno() == errno.EINTR
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    os.close(reading)
    os.close(writing)
