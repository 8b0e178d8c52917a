"""`store adopt`: a store that was moved or restored on purpose is in its place again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from protozorfs import ids
from protozorfs.cli.arguments import (
    network_options,
    no_store,
    node_options,
    required_store_argument,
)
from protozorfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from protozorfs.cli.newer_heads import Answer
    from protozorfs.types import FeedId

TWO_WRITERS = """\
The key of a feed is in its store. If two stores append with one key, or an older state of a store
appends again, the feed has two histories. Everybody who sees both freezes the feed for ever, and
nothing mends that. So no other copy of this store may be appended to any more."""
NOBODY = """\
Where nobody could be asked, there is no network, or nobody who has the feed answered. If more of it
was ever seen elsewhere than is here, the next append ends it for its readers. If somebody follows
it, adopt the store where there is a network, or with --peer=HOST:PORT of a follower."""


@click.group("store")
def store_commands() -> None:
    """What concerns a store as a whole."""


@store_commands.command()
@required_store_argument
@network_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def adopt(
    store: Path,
    words: tuple[str, ...],
    peers: tuple[str, ...],
    port: int | None,
    bind: str | None,
    yes: bool,
) -> None:
    """Take a STORE that was moved or restored for its own, so that it appends offline again.

    First its peers and the DHT are asked, for half a minute at most, whether its feeds have grown
    elsewhere; what they know is fetched. The store must not be mounted.
    """
    options = node_options(words, peers, port, bind)
    if not (store / "format").exists():
        raise no_store(store)
    displaced = _displaced(store)
    if not displaced:
        click.echo("all feeds are in place")
        return
    from protozorfs.cli import newer_heads  # most of the start: only where somebody is asked

    if newer_heads.may_ask(options):
        click.echo(f"asking for newer heads, for {newer_heads.ASK_SECONDS:.0f} s at most", err=True)
    answers = newer_heads.ask(store, options, displaced)
    for feed_id, why in displaced.items():
        click.echo(f"{ids.format_hex(feed_id)}: {why}; {_said_of(answers.get(feed_id))}")
    refused = {feed_id for feed_id in displaced if not _may_be_adopted(answers.get(feed_id))}
    if len(refused) < len(displaced) and not yes:
        _confirm(answers)
    _adopt(store, refused)
    click.echo(f"{len(displaced) - len(refused)} feeds were adopted")
    if refused:
        raise UsageError(
            f"{len(refused)} feeds were not adopted: what is said of them above has to be mended"
        )


def _displaced(store: Path) -> dict[FeedId, str]:
    """Which feeds are out of their place, and why. If none is, the node's key is in its own."""
    from protozorfs.store.layout import Store  # most of the start: not for the other commands

    with Store(store, adopts=True) as opened:
        displaced = opened.displaced()
        if not displaced:
            opened.adopt()
        return displaced


def _adopt(store: Path, refused: set[FeedId]) -> None:
    from protozorfs.store.layout import Store

    with Store(store, adopts=True) as opened:
        opened.adopt(refused)


def _may_be_adopted(answer: Answer | None) -> bool:
    return answer is not None and answer.allows_appends


def _said_of(answer: Answer | None) -> str:
    if answer is None:
        return "it cannot be opened; mount.log of the next mount says why"
    if answer.frozen_why:
        return f"it is frozen, since {answer.frozen_why}"
    if answer.held_length < answer.length:
        return (
            f"only {answer.held_length} of its {answer.length} blocks are here:"
            " mount the store while somebody who has the others is there"
        )
    if not answer.has_come:
        return "NOBODY COULD BE ASKED whether it has grown elsewhere"
    return f"those who were asked know of no block after {answer.length}, the newest here"


def _confirm(answers: Mapping[FeedId, Answer]) -> None:
    click.echo(TWO_WRITERS)
    if not all(answer.has_come for answer in answers.values()):
        click.echo(NOBODY)
    if not click.confirm("Is this the only copy in use, and its newest state?"):
        raise UsageError("nothing was adopted")
