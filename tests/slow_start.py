"""A mount whose store is being opened until a test has heard enough of that.

    python -m tests.slow_start ARGUMENTS OF mount.protozorfs

A store takes that long only after a kill, with thousands of feeds on a slow disk. This one waits
until there is a file STORE.go, and tells the service manager more often. Nothing else is changed.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from protozorfs.app import open_node
from protozorfs.cli import serving
from protozorfs.cli.mounting import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.options import Options

OPENING_SECONDS = 0.05


@asynccontextmanager
async def open_when_told(
    path: Path, options: Options, *, mount_point: str | None
) -> AsyncIterator[Node]:
    """As `app.open_node`, when the file is there."""
    go = trio.Path(path.with_name(f"{path.name}.go"))
    while not await go.exists():  # noqa: ASYNC110  another process makes it
        await trio.sleep(OPENING_SECONDS / 5)
    async with open_node(path, options, mount_point=mount_point) as node:
        yield node


if __name__ == "__main__":
    assert serving.OPENING_SECONDS > OPENING_SECONDS
    serving.OPENING_SECONDS = OPENING_SECONDS
    sys.exit(run(sys.argv[1:], open_when_told))
