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


GIT = "git -C store -c user.name=a -c user.email=a@example.com"
FEED = "feeds/*/*"


@pytest.mark.parametrize(
    ("backup", "restore"),
    [
        ("clean", "cp -a backup/. store/"),
        ("live", "cp -a backup/. store/"),
        ("live", "cp -r backup/. store/"),
        ("clean", "rsync -a --delete backup/ store/"),
        ("live", "rsync -a backup/ store/"),
        ("live", "rsync -a --inplace backup/ store/"),
        ("live", "rsync -a --delete --inplace backup/ store/"),
        ("live", "tar c -C backup . | tar x -C store"),
        ("clean", "tar c -C backup . | tar x --overwrite -C store"),
        ("clean", "mv store away; cp -a backup store"),
        ("clean", f"rm -r store/{FEED}; cp -a backup/feeds/. store/feeds/"),
        ("live", f"cp -a backup/{FEED}/. store/{FEED}/"),
        ("live", f"cp -a backup/{FEED}/{{data,tree,head}} store/{FEED}/"),
        ("live", f"cat backup/{FEED}/head > store/{FEED}/head"),
        ("clean", "git -C store checkout -qf backup -- ."),
    ],
)
async def test_it_is_noticed(tmp_path: Path, restore: str, backup: str) -> None:
    tool = restore.split()[0]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    is_clean = backup == "clean"

    def run(command: str) -> None:
        subprocess.run(["bash", "-c", command], check=True, cwd=tmp_path)

    async with node_at(tmp_path / "store", options=ALONE) as node:
        await node.create(b"journal")
        await append(node, b"one\n")
        if not is_clean:
            run("cp -a store backup")
    if is_clean:
        run("cp -a store backup")
    if tool == "git":
        run(f"{GIT} init -q; {GIT} add -A; {GIT} commit -qm backup; git -C store tag backup")
    run("find backup -type f -exec touch -d '1 hour ago' {} +")  # rsync compares seconds
    async with node_at(tmp_path / "store", options=ALONE) as node:
        await append(node, b"two\n")
    run("mv store elsewhere; mv elsewhere store")
    async with node_at(tmp_path / "store", options=ALONE) as node:
        await append(node, b"in its place\n")
    run(restore)
    for _ in range(2):  # the first of these runs may write to the files, which sets their times
        async with node_at(tmp_path / "store", options=ALONE) as node:
            feed = node.feeds.by_name(b"journal")
            assert feed is not None
            assert feed.byte_length == len(b"one\n")
            assert feed.reader.read_nowait(0, 100) == b"one\n"
            with pytest.raises(NotWritable, match="nobody could be asked"):
                await append(node, b"another second line\n")
