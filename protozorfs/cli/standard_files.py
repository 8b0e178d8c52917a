"""Standard input and outputs that are closed, full, or read by nobody."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_FILES = (0, 1, 2)


class Nowhere(io.TextIOBase):
    """In place of an output that the caller has closed: what is said there is said to nobody."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def stand_in_for_closed() -> None:
    """Puts something where the caller has closed a standard file.

    The next file opened, one of the store's, would get the number, and with it what is printed.
    What stands in its place can be neither read nor written.
    """
    for number in STANDARD_FILES:
        try:
            os.fstat(number)
        except OSError:
            os.open("/", os.O_PATH)
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = sys.stdout or Nowhere()
    sys.stderr = sys.stderr or Nowhere()


def drop_output() -> None:
    """Forgets what standard output did not take: Python's end would try it again, and complain."""
    with suppress(OSError):
        sys.stdout.close()
    sys.stdout = Nowhere()


@contextmanager
def complaining() -> Iterator[None]:
    """In the body, standard error may take what is said there, or may not."""
    try:
        yield
        sys.stderr.flush()
    except OSError:
        with suppress(OSError):
            sys.stderr.close()
        sys.stderr = Nowhere()
