"""The command line of `mount.protozorfs`, as scripts, mount(8) and fstab write it.

    mount.protozorfs [STORE] MOUNTPOINT [--foreground] [--debug[=MODULE,...]] [-f] [-s] [-n] [-v]
                     [-o OPTION[,OPTION...]]

mount(8) calls `mount.protozorfs STORE DIR [-s] [-f] [-n] [-v] -o rw,...`; in an option's value
`\\,` is a comma. Words of `-o` are of four kinds, in tables below: ours, those that libfuse and the
kernel take, those of fstab that mean nothing to a mount helper, and unknown ones, which are refused
by name (with `-s`: passed over).
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import appdirs

from protozorfs.cli.text import printable_text
from protozorfs.errors import UsageError
from protozorfs.options import DEFAULT_SCRUB_RATE, Options
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from protozorfs.fs.mount import MountOptions

USAGE_EXIT_CODE = 1  # Source: mount(8), "incorrect invocation or permissions"
DEFAULT_STORE = "default"
DEBUG_VARIABLE = "PROTOZORFS_DEBUG"

KERNEL_WORDS = {
    *("ro", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime", "noatime"),
    *("sync", "async", "dirsync"),
    *("allow_other", "allow_root", "auto_unmount", "default_permissions"),
}
# Meant for mount(8) and the init system, or of no meaning for a file system without disk or atimes.
# max_read is refused by libfuse unless the file system asks for the same.
IGNORED_WORDS = {
    *("rw", "defaults", "auto", "noauto", "_netdev", "nofail", "comment", "remount"),
    *("user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup"),
    *("relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime"),
    *("diratime", "nodiratime", "mand", "nomand", "loud", "silent", "max_read"),
}
IGNORED_PREFIXES = ("x-", "X-")

_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_SIZE_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_HELP_FLAGS = ("-h", "--help")
_VERSION_FLAGS = ("-V", "--version")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountCommand:
    """What the command line asks for.

    Attributes:
        store: the store's directory, absolute.
        options: of the node.
        mount: of the mount.
        foreground: do not become a daemon.
        debug: modules to log in detail; empty for all of them, None for none.
        fake: `-f`, check the command line and do nothing.
        verbose: `-v`, say what was done.
    """

    store: Path
    options: Options
    mount: MountOptions
    foreground: bool = False
    debug: tuple[str, ...] | None = None
    fake: bool = False
    verbose: bool = False

    @property
    def mounted_sentence(self) -> str:
        """What there is to say once it is mounted."""
        return printable_text(f"{self.store} is mounted at {self.mount.mount_point}")


class HelpWanted(Exception):
    """`--help` or `--version` was given; the argument is which."""


def parse_mount_command(arguments: Sequence[str], environ: dict[str, str]) -> MountCommand:
    """The command of an argument list without the program's name.

    Raises:
        UsageError: anything that is not understood, by name.
        HelpWanted: the user asks what there is.
    """
    words = _Words()
    words.read(arguments)
    if "" in words.positional:
        raise _usage("STORE or MOUNTPOINT is empty; see --help")
    if not 1 <= len(words.positional) <= 2:
        raise _usage("expected [STORE] MOUNTPOINT; see --help")
    values = _Values(sloppy=words.sloppy)
    for word in words.options:
        values.take(word)
    if words.debug is None and (variable := environ.get(DEBUG_VARIABLE)):
        words.debug = () if variable == "1" else _modules(variable, ",")
    store = words.positional[0] if len(words.positional) == 2 else DEFAULT_STORE
    options = Options(**values.node)
    return MountCommand(
        store=_store_path(store),
        options=options,
        mount=_mount_options(
            os.path.realpath(words.positional[-1]),
            values.source or (store if store == DEFAULT_STORE else os.path.abspath(store)),
            frozenset(values.kernel),
            options,
        ),
        foreground=words.foreground,
        debug=values.debug if words.debug is None else words.debug,
        fake=words.fake,
        verbose=words.verbose,
    )


def _mount_options(
    mount_point: str, source: str, kernel_options: frozenset[str], options: Options
) -> MountOptions:
    # With trio and pyfuse3: for a command line without mistakes alone, which needs them anyway.
    from protozorfs.fs.mount import MountOptions
    from protozorfs.fs.waits import Patience

    read_timeout = float("inf") if options.read_timeout is None else options.read_timeout
    return MountOptions(
        mount_point=mount_point,
        source=source,
        kernel_options=kernel_options,
        syncs="sync" in kernel_options,
        patience=Patience(
            read_seconds=read_timeout,
            head_seconds=0.0 if options.local else options.head_timeout,
        ),
        live_from_end=options.live_from == "end",
        wakes_watchers=not options.noinotify,
    )


def default_store() -> Path:
    """The directory of the user's own store.

    Raises:
        UsageError: the user has no home.
    """
    if os.path.isabs(os.environ.get("XDG_DATA_HOME", os.environ.get("HOME", ""))):
        data = appdirs.user_data_dir("protozorfs")
    else:  # no other value counts. Source: XDG Base Directory Specification
        data = os.path.join(_home(), ".local", "share", "protozorfs")
    return Path(data, DEFAULT_STORE)


def _home() -> str:
    home = os.environ.get("HOME", "")
    if os.path.isabs(home):
        return home
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise UsageError("there is no home for the default store: name a store") from None


def _store_path(store: str) -> Path:
    if store == DEFAULT_STORE:
        return default_store()
    return Path(os.path.abspath(store))


def _usage(message: str) -> UsageError:
    return UsageError(message, USAGE_EXIT_CODE)


def _modules(text: str, separator: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(separator)))


class _Words:
    """The argument list taken apart: flags, positions, and the words of all `-o`."""

    def __init__(self) -> None:
        self.positional: list[str] = []
        self.options: list[str] = []
        self.foreground = self.fake = self.sloppy = self.verbose = False
        self.debug: tuple[str, ...] | None = None

    def read(self, arguments: Sequence[str]) -> None:
        """Goes through the arguments once."""
        rest = iter(arguments)
        for argument in rest:
            if argument == "--":
                self.positional.extend(rest)
            elif argument in _HELP_FLAGS or argument in _VERSION_FLAGS:
                raise HelpWanted("help" if argument in _HELP_FLAGS else "version")
            elif argument.startswith("--"):
                self._long(argument)
            elif argument.startswith("-") and len(argument) > 1:
                self._short(argument, rest)
            else:
                self.positional.append(argument)

    def _long(self, argument: str) -> None:
        name, has_value, value = argument.partition("=")
        if argument == "--foreground":
            self.foreground = True
        elif name == "--debug":
            if has_value and not value:
                raise _usage("--debug= names no module")
            self.debug = _modules(value, ",")
        else:
            raise _usage(f"unknown option {argument}; see --help")

    def _short(self, argument: str, rest: Iterator[str]) -> None:
        for position, flag in enumerate(argument[1:], 1):
            if flag == "o":
                value = argument[position + 1 :] or next(rest, None)
                if value is None:
                    raise _usage("-o needs an option")
                self.options.extend(split_options(value))
                return
            if flag == "f":
                self.fake = True
            elif flag == "s":
                self.sloppy = True
            elif flag == "v":
                self.verbose = True
            elif flag != "n":  # there is no /etc/mtab to leave alone
                raise _usage(f"unknown flag -{flag}; see --help")


def split_options(text: str) -> list[str]:
    r"""The words between commas; `\,` is a comma, `\\` a backslash."""
    words = [""]
    characters = iter(text)
    for character in characters:
        if character == ",":
            words.append("")
        elif character == "\\":
            words[-1] += next(characters, "\\")
        else:
            words[-1] += character
    return [word for word in words if word]


def parse_node_options(words: Sequence[str]) -> Options:
    """The options of a command that opens a store by itself, from words such as `port=4000`.

    Raises:
        UsageError: one is unknown, wrong, or has no meaning without a mount.
    """
    values = _Values(sloppy=False)
    for word in words:
        name = word.partition("=")[0]
        if name in MOUNT_WORDS or name.startswith(IGNORED_PREFIXES):
            raise _usage(f"option {name} is for a mount; see --help")
        values.take(word)
    return Options(**values.node)


class _Values:
    """Collects the words of `-o`; of those that say the same the last counts."""

    def __init__(self, *, sloppy: bool) -> None:
        self.node: dict[str, Any] = {}  # keyword arguments of Options
        self.kernel: set[str] = set()
        self.source: str | None = None
        self.debug: tuple[str, ...] | None = None
        self._sloppy = sloppy

    def take(self, word: str) -> None:
        """Takes one word, `NAME` or `NAME=VALUE`."""
        name, has_value, value = word.partition("=")
        if name in _NODE_FLAGS or name in KERNEL_WORDS:
            if has_value:
                raise _usage(f"option {name} takes no value")
            if name in _NODE_FLAGS:
                self.node[name] = True
            else:
                self.kernel.add(name)
                if name == "ro":  # reads of what is missing are refused, as with `local`
                    self.node |= {"read_only": True, "local": True}
        elif (name in _NODE_VALUES or name in ("fsname", "subtype")) and word != "scrub":
            if not value:
                raise _usage(f"option {name} needs a value")
            self._take_value(name, value)
        elif name == "scrub":
            self.node[name] = DEFAULT_SCRUB_RATE
        elif name == "debug":
            self.debug = _modules(value, ":")
        elif not (self._sloppy or name in IGNORED_WORDS or name.startswith(IGNORED_PREFIXES)):
            raise _usage(f"unknown option {name}; see --help")

    def _take_value(self, name: str, value: str) -> None:
        if name == "fsname":
            self.source = value
        elif name == "subtype":
            if value != "protozorfs":  # `mount -t fuse.TYPE` passes its own type on
                raise _usage(f"option subtype={value}: this file system is protozorfs")
        else:
            field, parse, is_list = _NODE_VALUES[name]
            try:
                parsed = parse(value)
            except ValueError as error:
                raise _usage(f"option {name}={value}: {error}") from None
            self.node[field] = (*self.node.get(field, ()), parsed) if is_list else parsed


def _address(text: str) -> Address:
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host:
        raise ValueError("an IPv6 address must stand in brackets, as in [::1]:4000")
    if not separator or not host:
        raise ValueError("expected HOST:PORT")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("that is no host name") from None
    return Address(host, _port(port))


def parse_size(text: str) -> int:
    """Bytes of `123`, `50M`, `2GiB`; units are powers of 1024.

    Raises:
        ValueError
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 500M or 2G")
    return int(match[1]) << _SIZE_SHIFTS[match[2].upper()]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError("expected a port number from 1 to 65535")
    return int(text)


def _rate(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ValueError("expected packets per second, at least 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("expected seconds") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected seconds, 0 or more")
    return seconds


def _ip_address(text: str) -> str:
    return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))


def _live_from(text: str) -> str:
    if text not in ("start", "end"):
        raise ValueError("expected start or end")
    return text


_NODE_FLAGS = {
    *("nodht", "nolan", "noportmap", "sparse", "local", "noinotify"),
    *("force_append", "ephemeral_id"),
}
# word -> field of Options, parser, repeatable
_NODE_VALUES: dict[str, tuple[str, Callable[[str], Any], bool]] = {
    "port": ("port", _port, False),
    "bind": ("bind", _ip_address, False),
    # mount(8) of util-linux 2.39 takes `bind=ADDR` for its own `bind`, and does not call us then.
    "listen": ("bind", _ip_address, False),
    "peer": ("peers", _address, True),
    "bootstrap": ("bootstrap", _address, True),
    "dht_rate": ("dht_rate", _rate, False),
    "read_timeout": ("read_timeout", _seconds, False),
    "head_timeout": ("head_timeout", _seconds, False),
    "cache_size": ("cache_size", parse_size, False),
    "scrub": ("scrub", parse_size, False),  # the value may be left out
    "live_from": ("live_from", _live_from, False),
}
# What has no meaning without a mount: reads that wait, appends to feeds that are there, a log.
MOUNT_WORDS = {
    *("local", "read_timeout", "head_timeout", "live_from", "noinotify", "force_append"),
    *("scrub", "fsname", "subtype", "debug"),
    *KERNEL_WORDS,
    *IGNORED_WORDS,
}
