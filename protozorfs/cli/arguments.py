"""Options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from protozorfs.cli.options import (
    DEFAULT_STORE,
    default_store,
    parse_node_options,
    split_options,
)
from protozorfs.errors import UsageError
from protozorfs.fs.mount_points import FILE_SYSTEM_TYPE, mounted_at, source_of_ascii

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protozorfs.options import Options

Command = TypeVar("Command", bound="Callable[..., Any]")

WRONG_COMMAND_LINE = 2  # exit code. Source: click
OPTIONS_HELP = (
    "As for mount.protozorfs, unless the store is mounted: nodht, nolan, noportmap, "
    "peer=HOST:PORT, port=N, listen=ADDR or bind=ADDR, bootstrap=HOST:PORT, dht_rate=N, "
    "sparse, cache_size=SIZE, ephemeral_id."
)


class _StorePath(click.Path):
    """A directory; what is wrong with it, the store says."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":  # a variable without a value, perhaps: not the current directory
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


store_option = click.option(
    "--store",
    type=_StorePath(),
    default=default_store,
    show_default="the default store",
    help="The store's directory; it is made when it is missing.",
)

store_argument = click.argument("store", type=_StorePath(), default=default_store)
required_store_argument = click.argument("store", type=_StorePath())


def network_options(command: Command) -> Command:
    """-o, and --peer, --port and --bind for the mount options of those names."""
    for option in (
        click.option("--bind", metavar="ADDR", help="The address to listen on (default: all)."),
        click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on."),
        click.option("--peer", "peers", multiple=True, metavar="HOST:PORT", help="A peer to dial."),
        click.option("-o", "words", multiple=True, metavar="OPTION[,OPTION...]", help=OPTIONS_HELP),
    ):
        command = option(command)
    return command


def node_options(
    words: Sequence[str], peers: Sequence[str], port: int | None, bind: str | None
) -> Options:
    """What `network_options` mean.

    Raises:
        UsageError: one is not understood.
    """
    settings = [word for text in words for word in split_options(text)]
    settings += [f"peer={peer}" for peer in peers]
    settings += [f"port={port}"] if port is not None else []
    settings += [f"bind={bind}"] if bind is not None else []
    try:
        return parse_node_options(settings)
    except UsageError as error:
        raise UsageError(str(error), WRONG_COMMAND_LINE) from None


def no_store(path: str | os.PathLike[str]) -> UsageError:
    """What is said where a store was expected; a mount point is easily given in its place."""
    store = mounted_store(path)
    if store is None:
        return UsageError(f"{path} is no store")
    return UsageError(
        f"{path} is no store, but where {store} is mounted: unmount it, and name the store"
    )


def mounted_store(mount_point: str | os.PathLike[str]) -> Path | None:
    """The store that is mounted there, or what `fsname` calls it; None if none is."""
    entry = mounted_at(os.path.realpath(mount_point))
    if entry is None or entry.kind != FILE_SYSTEM_TYPE:
        return None
    source = source_of_ascii(entry.source)
    return default_store() if source == DEFAULT_STORE else Path(source)
