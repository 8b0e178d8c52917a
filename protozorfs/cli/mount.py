"""`mount.protozorfs`: mounts a store at a directory, in the background unless told otherwise.

| exit code | meaning |
|---|---|
| 0 | the mount answers; with `--foreground`: it has ended; with `-f`: nothing was done |
| 1 | the command line is wrong |
| 32 | it could not be mounted, or the daemon failed; one sentence says why |
| 128 + N | ended by signal N before the mount answered (130: Ctrl-C) |

Source of 1 and 32: mount(8).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from protozorfs.cli.mounting import run

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from protozorfs.cli.serving import HasFeeds
    from protozorfs.options import Options


def main() -> int:
    """The command; returns its exit code."""
    return run(sys.argv[1:], _open_node)


def _open_node(
    path: Path, options: Options, *, mount_point: str | None
) -> AbstractAsyncContextManager[HasFeeds]:
    from protozorfs import app  # most of the start: not for `--help` and mistakes

    open_store = app.open_to_read if options.read_only else app.open_node
    return open_store(path, options, mount_point=mount_point)
