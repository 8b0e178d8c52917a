"""A sparse mount that fetches no more than the blocks it is asked for: it decides what passes.

    python -m tests.gate_mount ARGUMENTS OF mount.protozorfs

The product fetches ahead of its readers; a test that says which blocks go on to the next mount
cannot have that. Nothing else is changed.
"""

from __future__ import annotations

import sys

from protozorfs.cli.mount import main
from protozorfs.feeds import wants

if __name__ == "__main__":
    assert wants.MAX_AHEAD_BLOCKS > 0
    wants.MAX_AHEAD_BLOCKS = 0
    sys.exit(main())
