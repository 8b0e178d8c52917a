"""A store and its copy that both appended, apart: when they meet, both stop, and all learn it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from protozorfs.cli.evidence import evidence_text
from protozorfs.errors import NotWritable
from protozorfs.feeds.ports import FeedState
from protozorfs.wire.replication import Replica
from tests.evidence_verifier import said_of
from tests.swarm.nodes import ALONE, node_at, until

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Request

FORCED = replace(ALONE, force_append=True)


def journal(node: Node) -> Feed:
    feed = node.feeds.by_name(b"journal")
    assert feed is not None
    return feed


@pytest.mark.parametrize(
    ("appended", "appended_to_copy"),
    [(3, 1), (1, 3), (2, 2)],
    ids=["original ahead", "copy ahead", "equally often"],
)
async def test_they_freeze_and_so_does_whoever_follows(
    tmp_path: Path, appended: int, appended_to_copy: int
) -> None:
    async with node_at(tmp_path / "original") as node:
        feed_id = (await node.create(b"journal")).feed_id
        await journal(node).append([b"shared\n"])
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    for name, count in (("original", appended), ("copy", appended_to_copy)):
        async with node_at(tmp_path / name, options=FORCED) as node:
            await journal(node).append([f"{name} {number}\n".encode() for number in range(count)])
    async with (
        node_at(tmp_path / "original") as original,
        node_at(tmp_path / "copy", original) as copy,
    ):
        for node in (original, copy):
            await until(lambda node=node: journal(node).state is FeedState.FROZEN)  # type: ignore[misc]
            with pytest.raises(NotWritable, match="two histories"):
                await journal(node).append([b"more\n"])
        async with node_at(tmp_path / "reader", original) as reader:
            feed = await reader.feeds.follow(feed_id, b"journal")
            await until(lambda: feed.state is FeedState.FROZEN)
    for name in ("original", "copy", "reader"):
        (said,) = said_of(evidence_text(tmp_path / name, feed_id)) or [""]
        assert said.startswith("The key signed two histories of fork 0, of lengths ")
    async with node_at(tmp_path / "original") as node:
        assert journal(node).state is FeedState.FROZEN, "in the next run, too"


async def test_that_appended_equally_often_learn_it_by_one_question_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither appends again: what both ask when they have told their lengths is enough."""
    asked: list[tuple[int, int]] = []
    ask = Replica.send_conflict_request

    def counted(replica: Replica, request: Request, fork: int) -> None:
        assert request.upgrade is not None
        asked.append((fork, request.upgrade.length))
        ask(replica, request, fork)

    monkeypatch.setattr(Replica, "send_conflict_request", counted)
    async with node_at(tmp_path / "original") as node:
        feed_id = (await node.create(b"journal")).feed_id
        await journal(node).append([b"shared\n"])
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    for name in ("original", "copy"):
        async with node_at(tmp_path / name, options=FORCED) as node:
            await journal(node).append([f"{name}\n".encode()])
    async with (
        node_at(tmp_path / "original") as original,
        node_at(tmp_path / "copy", original) as copy,
    ):
        nodes = (original, copy)
        await until(lambda: all(journal(node).state is FeedState.FROZEN for node in nodes))
        assert asked == [(0, 2), (0, 2)]
        for node in nodes:
            assert journal(node).frozen_why == "two histories of it are signed"
            assert "two histories of it are signed" in node.feeds.report(feed_id).why
    said = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert said == 2 * [f"feed {feed_id.hex()}: two histories are signed"]
