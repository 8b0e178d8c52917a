"""A command in a terminal of its own: what it shows, and keys for it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEADLINE_SECONDS = 20.0  # for what is to be said, and for the end: a watchdog only
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>78])|\x0f")
LINE_ENDS = re.compile(r"\r+\n|\r")
READ_BYTES = 4096


class Terminal:
    """Runs a command by bash; leaves nothing of it behind.

    Attributes:
        said: all that it has shown, without the codes that move the cursor.
    """

    def __init__(self, command: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.said = ""
        self._master, terminal = os.openpty()
        with os.fdopen(terminal) as slave:
            # The first terminal that the leader of a session opens becomes its controlling one.
            opening = f"exec <>{os.ttyname(slave.fileno())} 1>&0 2>&1; exec {command}"
            self._process = subprocess.Popen(
                ["bash", "-c", opening],
                cwd=directory,
                env=environment,
                stdin=slave,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)

    def said_until(self, pattern: str) -> bool:
        """Waits until the pattern is found in what was said; whether it was."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        raw = b""
        before = self.said
        while re.search(pattern, self.said.strip(), re.MULTILINE) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._master], [], [], left)[0]:
                return False
            try:
                raw += os.read(self._master, READ_BYTES)
            except OSError:  # EIO: the command has ended, and all is read
                return False
            text = ESCAPES.sub("", raw.decode(errors="replace"))
            self.said = before + LINE_ENDS.sub("\n", text)
        return True

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Waits for the end.

        Returns:
            The exit code as a shell tells it: 128 and the signal for what a signal ended.

        Raises:
            subprocess.TimeoutExpired: it did not end.
        """
        code = self._process.wait(DEADLINE_SECONDS)
        return code if code >= 0 else 128 - code
