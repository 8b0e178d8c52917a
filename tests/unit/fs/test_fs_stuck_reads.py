"""protozorfs.fs.stuck_reads"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from typing import TYPE_CHECKING

from protozorfs.fs import stuck_reads
from protozorfs.fs.stuck_reads import no_stuck_reads

if TYPE_CHECKING:
    import pytest


def test_a_read_that_finds_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck_reads, "_PLACE", "")  # wherever it sleeps
    before = signal.getsignal(signal.SIGURG)
    reading, writing = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)  # Python's own read would go on behind EINTR
    with no_stuck_reads():
        assert libc.read(reading, ctypes.create_string_buffer(1), 1) == -1
        assert ctypes.get_errno() == errno.EINTR
    assert signal.getsignal(signal.SIGURG) == before
    os.close(reading)
    os.close(writing)
