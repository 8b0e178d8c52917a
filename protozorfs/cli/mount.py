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

from protozorfs.app import open_node
from protozorfs.cli.mounting import run


def main() -> int:
    """The command; returns its exit code."""
    return run(sys.argv[1:], open_node)
