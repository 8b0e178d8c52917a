"""The lock of a store that is only looked at: many may look at once, and nobody changes it."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.errors import StoreLocked
from protozorfs.store.lock import LOCK_FILE, read_holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store.beneath import Beneath


@contextmanager
def shared_lock(root: Beneath) -> Iterator[None]:
    """Nobody changes the store in the body. Nothing is written, and nobody is waited for.

    The directory is locked as well, as `StoreLock` does: the file may be missing.

    Raises:
        StoreLocked: a process has the store open.
        StoreRefused, OSError: the file cannot be opened.
    """
    with ExitStack() as stack:
        with suppress(FileNotFoundError):
            descriptor = root.open_file(LOCK_FILE, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            _lock(descriptor, root)
        with suppress(OSError):  # some file systems lock no directories
            _lock(root.descriptor, root)
            stack.callback(fcntl.flock, root.descriptor, fcntl.LOCK_UN)
        yield


def _lock(descriptor: int, root: Beneath) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLocked(root.path, *read_holder(Path(root.path))) from None
