"""A store over which an older state of it was restored by real tools takes no append offline."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import NotWritable
from tests.swarm.nodes import ALONE, node_at

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.app import Node


async def append(node: Node, line: bytes) -> None:
    feed = node.feeds.by_name(b"journal")
    assert feed is not None
    await feed.append([line])
    await feed.sync()


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean backup", "live backup"])
@pytest.mark.parametrize(
    "restore",
    [
        "rsync -a --delete backup/ store/",
        "rsync -a --delete --inplace backup/ store/",
        "find store -name clean -delete; cp -a backup/. store/",
        "find store -name clean -delete; tar c -C backup . | tar x -C store",
        "mv store away; cp -a backup store",
    ],
)
async def test_it_is_noticed(tmp_path: Path, restore: str, is_clean: bool) -> None:
    if shutil.which(restore.split()[0]) is None:
        pytest.skip("the tool is not installed")

    def run(command: str) -> None:
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)

    async with node_at(tmp_path / "store", options=ALONE) as node:
        node.create(b"journal")
        await append(node, b"one\n")
        if not is_clean:
            run("cp -a store backup")
    if is_clean:
        run("cp -a store backup")
    run("find backup -type f -exec touch -d '1 hour ago' {} +")  # rsync compares seconds
    async with node_at(tmp_path / "store", options=ALONE) as node:
        await append(node, b"two\n")
    run("mv store elsewhere; mv elsewhere store")
    async with node_at(tmp_path / "store", options=ALONE) as node:
        await append(node, b"in its place\n")
    run(restore)
    async with node_at(tmp_path / "store", options=ALONE) as node:
        with pytest.raises(NotWritable, match="nobody could be asked"):
            await append(node, b"another second line\n")
