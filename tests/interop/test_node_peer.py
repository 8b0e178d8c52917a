"""The peers themselves: two Node processes replicate, as the harness runs them."""

from __future__ import annotations

import pytest

from protozorfs import crypto
from protozorfs.types import FeedId
from tests.node_peer import generated_block, node_reader, node_writer

pytestmark = pytest.mark.interop

SEED = bytes(range(32))


def test_a_node_reader_that_has_only_the_id_reads_a_node_writer() -> None:
    with node_writer(SEED, blocks=3, block_bytes=100) as writer:
        assert writer.address is not None
        with node_reader(writer.feed_id, connect=[writer.address]) as reader:
            figures = reader.figures()
            assert reader.wait() == 0
            assert reader.received() == b"".join(generated_block(index, 100) for index in range(3))
    assert figures["sizes"] == [100, 100, 100]
    assert figures["treeHash"] == writer.description["treeHash"]


def test_a_line_appended_is_one_block_of_a_live_reader() -> None:
    with node_writer(SEED) as writer:
        assert writer.address is not None
        with node_reader(writer.feed_id, connect=[writer.address], live=True, length=2) as reader:
            writer.append("one")
            assert writer.append("three")["length"] == 2
            assert reader.figures()["sizes"] == [3, 5]


def test_a_writer_can_be_the_one_that_dials() -> None:
    feed_id = FeedId(crypto.key_pair(SEED).public_key)
    with node_reader(feed_id, length=2) as reader:
        assert reader.address is not None
        with node_writer(SEED, connect=[reader.address], blocks=2) as writer:
            assert writer.feed_id == feed_id
            assert reader.figures()["blocks"] == 2


def test_a_lying_writer_is_noticed() -> None:
    with node_writer(SEED, blocks=4, evil="flip-block") as writer:
        assert writer.address is not None
        with node_reader(writer.feed_id, connect=[writer.address]) as reader:
            assert reader.wait() == 3
            assert reader.figures()["invalid"] >= 1
