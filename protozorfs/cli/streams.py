"""`protozorfs write` and `protozorfs read`: a feed from standard input, a feed to standard output.

For machines without FUSE, and for pipes. Source: the two scripts of protozor's README.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from protozorfs.cli import mount_streams
from protozorfs.cli.access import check_new_name, mount_point_of, parse_id
from protozorfs.cli.arguments import network_options, node_options, store_option
from protozorfs.errors import UsageError
from protozorfs.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@click.command()
@store_option
@network_options
@click.option("--name", help="The feed's name in the store (default: first digits of its ID).")
@click.option(
    "--serve/--no-serve",
    default=True,
    help="Go on serving the feed after the end of the input (the default), or end.",
)
def write(
    store: Path,
    words: tuple[str, ...],
    peers: tuple[str, ...],
    port: int | None,
    bind: str | None,
    name: str | None,
    serve: bool,
) -> None:
    """Copy standard input to a new feed, whose ID is printed first.

    What one read of the input brings, a typed line for instance, becomes one block.
    """
    options = node_options(words, peers, port, bind)
    if name is not None:
        check_new_name(os.fsencode(name), is_made=True)

    def in_node() -> None:
        from protozorfs.cli import node_streams  # most of the start: not for `--help` and a mount

        node_streams.write(store, options, name, serve=serve)

    in_node_or_mount(store, options, in_node, partial(mount_streams.write, name))


@click.command()
@click.argument("feed_id", metavar="ID")
@store_option
@network_options
@click.option(
    "--follow/--no-follow",
    default=True,
    help="Wait at the end for what is appended (the default), or end there.",
)
def read(
    feed_id: str,
    store: Path,
    words: tuple[str, ...],
    peers: tuple[str, ...],
    port: int | None,
    bind: str | None,
    follow: bool,
) -> None:
    """Copy the feed ID to standard output."""
    wanted = parse_id(feed_id)
    options = node_options(words, peers, port, bind)

    def in_node() -> None:
        from protozorfs.cli import node_streams

        node_streams.read(store, options, wanted, follow=follow)

    in_node_or_mount(store, options, in_node, partial(mount_streams.read, wanted, follow=follow))


def in_node_or_mount(
    store: Path,
    options: Options,
    in_node: Callable[[], None],
    in_mount: Callable[[Path], None],
) -> None:
    """Runs the first form, or the second where the store is mounted.

    Raises:
        StoreLocked: the store is in use and not mounted.
        UsageError: options that a mount that runs already cannot take.
    """
    mount_point = mount_point_of(store)
    if mount_point is None:
        in_node()
        return
    if options != Options():
        raise UsageError(
            f"the store {store} is mounted at {mount_point}:"
            " -o, --peer, --port and --bind are given to the mount, or give another --store"
        )
    in_mount(mount_point)
