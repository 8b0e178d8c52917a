"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import appdirs
import click

from protozorfs.cli.options import DEFAULT_STORE, parse_address
from protozorfs.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Command = TypeVar("Command", bound="Callable[..., Any]")


def default_store() -> Path:
    """The store of whoever names none, as for `mount.protozorfs`: in the user's data directory."""
    return Path(appdirs.user_data_dir("protozorfs"), DEFAULT_STORE)


store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_store,
    show_default="the default store",
    help="The store's directory; it is made when it is missing.",
)


def network_options(command: Command) -> Command:
    """--peer, --port and --bind, as the mount options of those names."""
    for option in (
        click.option("--bind", metavar="ADDR", help="The address to listen on (default: all)."),
        click.option("--port", type=click.IntRange(1, 65535), help="The TCP port to listen on."),
        click.option("--peer", "peers", multiple=True, metavar="HOST:PORT", help="A peer to dial."),
    ):
        command = option(command)
    return command


def node_options(peers: Sequence[str], port: int | None, bind: str | None) -> Options:
    """What `network_options` mean.

    Raises:
        UsageError: a peer is not HOST:PORT.
    """
    return Options(peers=tuple(map(parse_address, peers)), port=port, bind=bind)
