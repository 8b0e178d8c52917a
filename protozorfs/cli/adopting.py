"""`store adopt`: a store that was moved or restored on purpose is in its place again."""

from __future__ import annotations

from pathlib import Path

import click

from protozorfs import ids
from protozorfs.errors import UsageError

DANGER = """\
If another copy of this store is in use, or if more was appended since this state of it was saved,
an append here begins a second history of the feed. Everybody who sees both histories freezes the
feed for ever, and nothing mends that. If the feed has readers, mount the store once while the
network is there instead: the first append asks for newer heads, and needs no adoption then."""


@click.group("store")
def store_commands() -> None:
    """What concerns a store as a whole."""


@store_commands.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
def adopt(store: Path, yes: bool) -> None:
    """Append to a STORE that was moved or restored, without asking for newer heads.

    It must not be mounted.
    """
    from protozorfs.store.layout import Store  # most of the start: not for the other commands

    if not (store / "format").exists():
        raise UsageError(f"{store} is no store")
    with Store(store, adopts=True) as opened:
        displaced = opened.displaced()
        for feed_id, why in displaced.items():
            click.echo(f"{ids.format_hex(feed_id)}: {why}")
        if displaced and not yes:
            click.echo(DANGER)
            if not click.confirm("Is this the only copy in use, and its newest state?"):
                raise UsageError("nothing was done")
        opened.adopt()
    click.echo(f"{len(displaced)} feeds were adopted" if displaced else "all feeds are in place")
