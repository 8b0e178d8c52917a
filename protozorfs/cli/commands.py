"""`protozorfs`: the feed commands, a thin layer over what can be done in a mount.

Exit codes: 0 done; 1 it could not be done, and one sentence says why; 2 the command line is
wrong; 128 + N ended by signal N.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, TypeVar

import click

from protozorfs import ids
from protozorfs.cli import streams
from protozorfs.cli.access import (
    check_new_name,
    mount_point_of,
    parse_id,
    split_path,
)
from protozorfs.cli.adopting import store_commands
from protozorfs.cli.arguments import mounted_store, store_argument, store_option
from protozorfs.cli.check_command import CheckCommand, Repair, check_store
from protozorfs.cli.signals import EXIT_SIGNAL, EndedBySignal
from protozorfs.cli.standard_files import complaining
from protozorfs.cli.text import complain, printable, table
from protozorfs.cli.through_mount import MountAccess
from protozorfs.errors import DecodeError, FeedNameError, ProtozorfsError, UsageError
from protozorfs.names import short_name
from protozorfs.store.unwritable import is_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from protozorfs.cli.access import Access

T = TypeVar("T")

EXIT_FAILED = 1
NOTHING_DONE = "nothing was done"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="protozorfs", message="%(prog)s %(version)s")
def protozorfs() -> None:
    """Feeds: append-only files that other machines follow.

    NAME is a feed's name in the store, or the path of its file in a mount. While the store is
    mounted, the commands act through the mount.
    """


@protozorfs.command()
@click.argument("name")
@store_option
def new(name: str, store: Path) -> None:
    """Make a feed of your own and print its ID."""
    check_new_name(split_path(name)[1], is_made=True)
    feed_id = act(store, name, lambda access, name: access.create(name))
    click.echo(ids.format_hex(feed_id))


@protozorfs.command()
@click.argument("feed_id", metavar="ID")
@click.argument("name", required=False)
@store_option
def add(feed_id: str, name: str | None, store: Path) -> None:
    """Follow the feed ID as NAME (default: the first digits of the ID)."""
    wanted = parse_id(feed_id)
    path = short_name(wanted).decode() if name is None else name
    check_new_name(split_path(path)[1], is_made=False)
    act(store, path, lambda access, name: access.follow(wanted, name))
    if name is None:
        click.echo(path)


@protozorfs.command()
@store_option
def ls(store: Path) -> None:
    """List the feeds of the store.

    Where the terminal is too narrow, IDs are cut; `protozorfs id NAME` prints one whole.
    """
    feeds = act_on_store(store, lambda access: access.feeds())
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table(feeds, columns):
        click.echo(line)


@protozorfs.command("id")
@click.argument("name")
@store_option
def show_id(name: str, store: Path) -> None:
    """Print the ID of the feed NAME."""
    click.echo(ids.format_hex(act(store, name, lambda access, name: access.feed_id_of(name))))


@protozorfs.command()
@click.argument("name")
@click.option(
    "--delete-key", is_flag=True, help="Delete a feed of your own with its key, for ever."
)
@click.option("--yes", is_flag=True, help="With --delete-key: do not ask.")
@store_option
def rm(name: str, delete_key: bool, yes: bool, store: Path) -> None:
    """Stop following the feed NAME, and drop what is held of it."""
    if not delete_key:
        act(store, name, lambda access, name: access.remove(name))
        return
    feed_id = act(store, name, lambda access, name: access.feed_id_of(name))
    if not yes:
        click.echo(f"The feed {ids.format_hex(feed_id)} can never be appended to again, by anyone.")
        if not click.confirm(f"Delete {printable(os.fsencode(name))} and its key?"):
            raise UsageError(NOTHING_DONE)
    act(store, name, lambda access, name: access.delete_key(name, feed_id))


@protozorfs.command(cls=CheckCommand)
@click.option(
    "--evidence",
    "feed",
    metavar="NAME|ID",
    help="Print the proof that the feed's key signed two histories, for anyone to verify.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.option("--repair", is_flag=True, help="Mend what can be had again or computed.")
@click.option(
    "--cut-owned",
    "cuts",
    multiple=True,
    metavar="ID",
    help="With --repair: cut the damaged feed ID of your own to its whole beginning.",
)
@click.option("--yes", is_flag=True, help="With --repair: do not ask.")
@store_argument
@click.pass_context
def check(
    context: click.Context,
    feed: str | None,
    is_json: bool,
    repair: bool,
    cuts: tuple[str, ...],
    yes: bool,
    store: Path,
) -> None:
    """Check what STORE (default: the default store) holds; it must not be mounted.

    Exit codes are those of fsck(8): 0 no errors, 1 errors were corrected, 4 errors are left, 8 it
    could not be checked, 16 the command line is wrong, 32 cancelled.
    """
    if (cuts or yes) and not repair:
        raise click.UsageError("--cut-owned and --yes are for --repair")
    if feed is None:
        try:
            wanted = Repair(frozenset(map(ids.parse_feed_id, cuts)), yes) if repair else None
        except DecodeError as error:
            raise click.UsageError(str(error)) from None
        context.exit(check_store(store, is_json=is_json, repair=wanted))
    if is_json or repair:
        raise click.UsageError("--evidence takes no other options")
    from protozorfs.cli.evidence import evidence_text

    try:
        feed_id = ids.parse_feed_id(feed)
    except DecodeError:  # a name, then: no feed has the ID of another as its name
        feed_id = act(store, feed, lambda access, name: access.feed_id_of(name))
        directory, _ = split_path(feed)
        mounted = mounted_store(directory) if directory is not None else None
        store = mounted if mounted is not None and is_store(mounted) else store
    click.echo(evidence_text(store, feed_id))


protozorfs.add_command(store_commands)
protozorfs.add_command(streams.write)
protozorfs.add_command(streams.read)


def act(store: Path, name: str, operation: Callable[[Access, bytes], T]) -> T:
    """Does an operation on the feed that the command line calls `name`."""
    directory, feed_name = split_path(name)
    if not feed_name:  # the path of a directory, or nothing
        raise UsageError(f"{name or 'NAME'}: a name has at least one byte")
    try:
        if directory is not None:
            _check_directory(directory)
            return operation(MountAccess(directory), feed_name)
        return act_on_store(store, lambda access: operation(access, feed_name))
    except FeedNameError as error:
        raise UsageError(f"{printable(feed_name)}: {error}") from None


def _check_directory(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: there is no such directory") from None
    except OSError:
        return  # of a mount that is dead, for instance: who acts on it, says so


def act_on_store(store: Path, operation: Callable[[Access], T]) -> T:
    """Does an operation on a store: through its mount, if it is mounted."""
    mount_point = mount_point_of(store)
    if mount_point is not None:
        return operation(MountAccess(mount_point))
    from protozorfs.cli.on_store import StoreAccess  # most of the start: not for a mount

    return operation(StoreAccess(store))


def main() -> int:
    """The command; returns its exit code."""
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code.

    Raises:
        OSError: of the system, such as a closed pipe; `start` tells the user.
    """
    try:
        # Not `protozorfs.main`, which makes exits of its own out of broken pipes.
        with protozorfs.make_context("protozorfs", list(arguments)) as context:
            protozorfs.invoke(context)
    except click.exceptions.Exit as end:  # `--help`
        return end.exit_code
    except click.Abort:  # the end of input, in place of an answer
        with complaining():
            click.echo(err=True)
        return _failed(NOTHING_DONE)
    except click.ClickException as error:
        with complaining():
            error.show()
        return error.exit_code
    except EndedBySignal as error:
        return EXIT_SIGNAL + error.number
    except UsageError as error:
        return _failed(str(error), error.exit_code)
    except ProtozorfsError as error:
        return _failed(str(error))
    return 0


def _failed(sentence: str, code: int = EXIT_FAILED) -> int:
    complain("protozorfs", sentence)
    return code
