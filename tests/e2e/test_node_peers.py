"""Feeds between a mount and Node hypercore peers, with either side dialling."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    are_same,
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    number,
    shell,
    wait_size,
    wait_until,
    wait_whole,
)
from tests.node_peer import generated_block, node_reader, node_writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protozorfs.types import FeedId
    from tests.mounts import Mount
    from tests.node_peer import NodeReader, NodeWriter

pytestmark = [pytest.mark.fuse, pytest.mark.interop]

SEED = bytes(range(1, 33))
BLOCKS = 300
BLOCK_BYTES = 1000
LINES = 100
WHO_DIALS = pytest.mark.parametrize("mount_dials", [True, False], ids=["dials", "listens"])


def generated(count: int) -> bytes:
    """What a Node writer of that many blocks has."""
    return b"".join(generated_block(index, BLOCK_BYTES) for index in range(count))


def expect_content(feed: Path, expected: bytes, directory: Path) -> None:
    """Compares with `cmp`, which reads to the end and waits for what is not here yet."""
    wait_size(feed, len(expected))
    (directory / "expected").write_bytes(expected)
    assert are_same(feed, directory / "expected")


def echo_lines(feed: Path, first: int, end: int) -> None:
    """Appends "line N" for N in [first, end), each by an `echo` of its own."""
    shell(f'for ((n = {first}; n < {end}; n++)); do echo "line $n" >> {feed}; done')


def lines(end: int) -> list[bytes]:
    return [b"line %d\n" % index for index in range(end)]


@contextmanager
def mount_beside_writer(
    directory: Path, *, mount_dials: bool, blocks: int = BLOCKS
) -> Iterator[tuple[Mount, NodeWriter]]:
    """A mount and a Node writer, connected by the one or the other."""
    with ExitStack() as stack:
        port = free_port()
        if mount_dials:
            writer = stack.enter_context(node_writer(SEED, blocks=blocks, block_bytes=BLOCK_BYTES))
            assert writer.address is not None
            mount = stack.enter_context(mounted_at(directory, "m", port, writer.address))
        else:
            mount = stack.enter_context(mounted_at(directory, "m", port))
            writer = stack.enter_context(
                node_writer(SEED, connect=[at(port)], blocks=blocks, block_bytes=BLOCK_BYTES)
            )
        yield mount, writer


def expect_lines(reader: NodeReader, count: int) -> None:
    """The reader got "line 0" and so on, each as one block."""
    figures = reader.figures()
    assert reader.received() == b"".join(lines(count))
    assert figures["sizes"] == [len(line) for line in lines(count)]
    assert (figures["invalid"], figures["conflict"]) == (0, False)
    assert reader.wait() == 0


@WHO_DIALS
def test_what_a_node_writer_has_is_the_file(tmp_path: Path, mount_dials: bool) -> None:
    with mount_beside_writer(tmp_path, mount_dials=mount_dials) as (mount, writer):
        feed = follow(writer.feed_id, mount.path / "paul")
        expect_content(feed, generated(BLOCKS), tmp_path)
        assert number(feed, "length") == BLOCKS
        assert number(feed, "local") == BLOCKS * BLOCK_BYTES


@WHO_DIALS
def test_each_echo_is_one_block_of_a_node_reader(tmp_path: Path, mount_dials: bool) -> None:
    port, reader_port = free_port(), free_port()
    peers = [at(reader_port)] if mount_dials else []
    with mounted_at(tmp_path, "m", port, *peers) as mount:
        echo_lines(mount.path / "journal", 0, LINES)
        feed_id = id_of(mount.path / "journal")
        reader = (
            node_reader(feed_id, port=reader_port, length=LINES)
            if mount_dials
            else node_reader(feed_id, connect=[at(port)], length=LINES)
        )
        with reader as running:
            expect_lines(running, LINES)


@WHO_DIALS
def test_live_while_both_append(tmp_path: Path, mount_dials: bool) -> None:
    count = 20
    with mount_beside_writer(tmp_path, mount_dials=mount_dials, blocks=0) as (mount, writer):
        journal = mount.path / "journal"
        journal.touch()
        feed = follow(writer.feed_id, mount.path / "paul")
        port = port_of(mount)
        with node_reader(id_of(journal), connect=[at(port)], length=count, live=True) as reader:
            for index in range(count):
                writer.append(f"paul {index}")
                echo_lines(journal, index, index + 1)
                expected = b"".join(lines(index + 1))
                wait_until(lambda expected=expected: reader.received() == expected)  # type: ignore[misc]
                theirs = b"".join(b"paul %d" % number for number in range(index + 1))
                expect_content(feed, theirs, tmp_path)
            expect_lines(reader, count)


def port_of(mount: Mount) -> int:
    """The port in the options of a mount of `mounted_at`."""
    assert isinstance(mount.process.args, list)
    settings = str(mount.process.args[-1]).split(",")
    (port,) = (setting for setting in settings if setting.startswith("port="))
    return int(port.removeprefix("port="))


def test_a_node_writer_restarts_with_more(tmp_path: Path) -> None:
    writer_port, more = free_port(), BLOCKS + 50
    with ExitStack() as stack:
        with node_writer(SEED, port=writer_port, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
            mount = stack.enter_context(mounted_at(tmp_path, "m", free_port(), at(writer_port)))
            feed = follow(writer.feed_id, mount.path / "paul")
            expect_content(feed, generated(BLOCKS), tmp_path)
        with node_writer(SEED, port=writer_port, blocks=more, block_bytes=BLOCK_BYTES) as writer:
            expect_content(feed, generated(more), tmp_path)
            writer.append("live again")
            expect_content(feed, generated(more) + b"live again", tmp_path)


def test_a_mount_restarts_and_gets_the_rest(tmp_path: Path) -> None:
    port = free_port()
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
        assert writer.address is not None
        with mounted_at(tmp_path, "m", port, writer.address) as mount:
            feed = follow(writer.feed_id, mount.path / "paul")
            expect_content(feed, generated(BLOCKS), tmp_path)
        writer.append("while it was away")
        with mounted_at(tmp_path, "m", port, writer.address):
            expect_content(feed, generated(BLOCKS) + b"while it was away", tmp_path)
    with mounted_at(tmp_path, "m", port):
        expect_content(feed, generated(BLOCKS) + b"while it was away", tmp_path)


def test_a_node_reader_goes_on_while_our_mount_restarts(tmp_path: Path) -> None:
    port, reader_port = free_port(), free_port()
    with ExitStack() as stack:
        with mounted_at(tmp_path, "m", port, at(reader_port)) as mount:
            journal = mount.path / "journal"
            echo_lines(journal, 0, 10)
            reader = stack.enter_context(
                node_reader(id_of(journal), port=reader_port, length=LINES, live=True)
            )
            wait_until(lambda: reader.received() == b"".join(lines(10)))
        with mounted_at(tmp_path, "m", port, at(reader_port)):
            echo_lines(journal, 10, LINES)
            expect_lines(reader, LINES)


def test_a_node_reader_that_starts_again_gets_all(tmp_path: Path) -> None:
    port = free_port()
    with mounted_at(tmp_path, "m", port) as mount:
        journal = mount.path / "journal"
        for end in (10, 20):
            echo_lines(journal, end - 10, end)
            with node_reader(id_of(journal), connect=[at(port)]) as reader:
                expect_lines(reader, end)


def test_a_mount_relays_between_node_peers(tmp_path: Path) -> None:
    """The writer has left before the reader comes."""
    port = free_port()
    with ExitStack() as stack:
        with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
            assert writer.address is not None
            mount = stack.enter_context(mounted_at(tmp_path, "m", port, writer.address))
            feed = follow(writer.feed_id, mount.path / "paul")
            wait_whole(feed, BLOCKS * BLOCK_BYTES)
        expect_from_relay(writer.feed_id, port)
        assert os.stat(feed).st_size == BLOCKS * BLOCK_BYTES


def expect_from_relay(feed_id: FeedId, port: int) -> None:
    with node_reader(feed_id, connect=[at(port)]) as reader:
        figures = reader.figures()
        assert reader.received() == generated(BLOCKS)
        assert figures["sizes"] == [BLOCK_BYTES] * BLOCKS
        assert reader.wait() == 0


def test_a_mount_relays_live(tmp_path: Path) -> None:
    """A block on its way from one Node peer to another never stops."""
    count, port = 20, free_port()
    with node_writer(SEED, blocks=1, block_bytes=BLOCK_BYTES) as writer:
        assert writer.address is not None
        with mounted_at(tmp_path, "m", port, writer.address) as mount:
            follow(writer.feed_id, mount.path / "paul")
            with node_reader(
                writer.feed_id, connect=[at(port)], length=1 + count, live=True
            ) as reader:
                for index in range(count):
                    writer.append(f"paul {index}")
                    end = b"paul %d" % index
                    wait_until(lambda end=end: reader.received().endswith(end))  # type: ignore[misc]
                assert reader.wait() == 0


def test_an_older_node_gets_what_is_behind_what_a_full_cache_has_dropped(tmp_path: Path) -> None:
    """It was told once that all of a feed is here; another feed needs the room then."""
    blocks, block = 24 * 16, os.urandom(64 * 1024)  # of 24 MiB, the two of which do not fit
    port, owner_port = free_port(), free_port()
    with (
        mounted_at(tmp_path, "owner", owner_port) as owner,
        mounted_at(tmp_path, "m", port, at(owner_port), more=["cache_size=32M"]) as mount,
    ):
        for name in ("one", "two"):
            with (owner.path / name).open("ab", buffering=0) as file:
                for _ in range(blocks):
                    file.write(block)
        feed_id = id_of(owner.path / "one")
        with node_reader(feed_id, connect=[at(port)], gets=True, version="11.37.1") as reader:
            feed = follow(feed_id, mount.path / "one")
            reader.get(0)
            wait_whole(feed, blocks * len(block))
            other = follow(id_of(owner.path / "two"), mount.path / "two")
            wait_size(other, blocks * len(block))
            assert other.read_bytes() == block * blocks
            assert number(feed, "local") < blocks * len(block)
            assert number(feed, "local") > 64 * len(block), "what came last is here"
            owner.process.kill()
            reader.get(blocks - 32, timeout_seconds=10.0)
