"""A process that ends the waits of a test that hangs: it aborts the mounts below a directory.

    python -m tests.hang_guard DIRECTORY SECONDS < one byte at each start and end of a test

A process of its own, since a page fault that waits for a mount holds Python's global lock: no
thread of the hanging process could act. It ends with its standard input.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from protozorfs.fs.mount_points import parse_mountinfo

START = b"<"
END = b">"
CONNECTIONS = Path("/sys/fs/fuse/connections")


def abort_mounts_below(directory: str) -> None:
    """Aborts the FUSE connection of every mount below a directory; needs fusectl."""
    for entry in parse_mountinfo(Path("/proc/self/mountinfo").read_bytes()):
        if entry.path.startswith(f"{directory}/"):
            minor = entry.device.partition(":")[2]
            connection = CONNECTIONS / minor / "abort"
            if connection.exists():
                connection.write_text("1")


def watch(directory: str, seconds: float) -> None:
    """Waits for the bytes, and aborts when an END is late."""
    is_running = False
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], seconds if is_running else None)
        if not ready:
            abort_mounts_below(directory)
            is_running = False
            continue
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            return
        is_running = byte == START


if __name__ == "__main__":
    watch(sys.argv[1], float(sys.argv[2]))
