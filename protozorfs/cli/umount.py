"""`umount.protozorfs`: unmounts and returns when the daemon has closed its store.

| exit code | meaning |
|---|---|
| 0 | unmounted |
| 1 | the command line is wrong |
| 32 | it could not be unmounted; one sentence says why |

Source of 1 and 32: umount(8).
"""

from __future__ import annotations

import sys

from protozorfs.cli.unmounting import run


def main() -> int:
    """The command; returns its exit code."""
    return run(sys.argv[1:])
