"""`protozorfs store adopt`: it asks for newer heads, says what two writers are, and remembers."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.errors import NotWritable
from protozorfs.store.keys import NODE_KEY_FILES
from tests.commands.test_feed_commands import ALONE as ALONE_WORDS
from tests.commands.test_feed_commands import COMMAND
from tests.swarm.nodes import ALONE, LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed


def journal(node: Node) -> Feed:
    feed = node.feeds.by_name(b"journal")
    assert feed is not None
    return feed


async def append(path: Path, line: bytes, *, force: bool = False) -> int:
    """Appends while nobody can be asked; returns the length."""
    async with open_node(path, replace(ALONE, force_append=force)) as node:
        feed = node.feeds.by_name(b"journal") or await node.create(b"journal")
        await feed.append([line])
        return feed.length


async def adopt(path: Path, *more: str, answer: str = "") -> tuple[int, str, str]:
    """What the command says, with which exit code."""
    done = await trio.run_process(
        [COMMAND, "store", "adopt", str(path), "-o", ALONE_WORDS, *more],
        stdin=answer.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
async def stores(tmp_path: Path) -> tuple[Path, Path]:
    """A store with a feed of one line, and a copy of it."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    assert await append(original, b"one\n") == 1
    await trio.run_process(["cp", "-a", str(original), str(copy)])
    return original, copy


async def test_where_nobody_can_be_asked_it_says_what_that_means(
    stores: tuple[Path, Path],
) -> None:
    original, copy = stores
    code, said, complaint = await adopt(copy, answer="n\n")
    assert code == 1
    assert "its file 'secret' is another one than before; NOBODY COULD BE ASKED" in said
    assert "the feed has two histories" in said
    assert "there is no network, or nobody who has the feed answered" in said
    assert "asking" not in complaint
    assert complaint.endswith("protozorfs: nothing was adopted\n")
    with pytest.raises(NotWritable, match="store adopt"):
        await append(copy, b"two\n")
    # Asked with a key of its own each time, it is the node of the original when it is adopted.
    for name in NODE_KEY_FILES:
        shutil.copy2(original / name, copy / name)
    assert (await adopt(copy, answer="y\n"))[0] == 0
    assert (copy / "node_key").read_bytes() == (original / "node_key").read_bytes()
    assert await append(copy, b"two\n") == 2
    code, said, _ = await adopt(copy)
    assert (code, said) == (0, "all feeds are in place\n")


async def test_what_a_peer_has_beyond_it_is_fetched(stores: tuple[Path, Path]) -> None:
    original, copy = stores
    async with open_node(original, ALONE) as node:
        await journal(node).append([b"two\n"])
        await journal(node).sync()
        code, said, complaint = await adopt(copy, f"--peer={LOOPBACK}:{node.port}", "--yes")
    assert code == 0
    assert complaint.startswith("asking for newer heads, for 30 s at most\n")
    assert "those who were asked know of no block after 2, the newest here" in said
    assert "two histories" not in said, "nobody is asked to confirm"
    assert await append(copy, b"three\n") == 3


async def test_a_feed_with_two_histories_is_not_adopted(stores: tuple[Path, Path]) -> None:
    original, copy = stores
    assert await append(original, b"two\n") == 2
    assert await append(copy, b"another two\n", force=True) == 2
    again = copy.with_name("again")
    await trio.run_process(["cp", "-a", str(copy), str(again)])
    async with open_node(original, ALONE) as node:
        code, said, complaint = await adopt(again, f"--peer={LOOPBACK}:{node.port}", "--yes")
    assert code == 1
    assert "it is frozen, since two histories of it are signed" in said
    assert "0 feeds were adopted" in said
    assert "1 feeds were not adopted" in complaint


async def test_a_directory_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    assert await adopt(tmp_path) == (1, "", f"protozorfs: {tmp_path} is no store\n")
    assert not os.listdir(tmp_path)
