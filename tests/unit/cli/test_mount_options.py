"""The command line of mount.protozorfs: docs/manual.md, and the forms of mount(8) and fstab."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.cli.options import (
    IGNORED_WORDS,
    KERNEL_WORDS,
    HelpWanted,
    MountCommand,
    default_store,
    parse_mount_command,
    parse_size,
    split_options,
)
from protozorfs.errors import UsageError
from protozorfs.options import DEFAULT_SCRUB_RATE, Options
from protozorfs.types import Address


def parse(*arguments: str, **environ: str) -> MountCommand:
    return parse_mount_command(arguments, environ)


def options(*words: str) -> Options:
    return parse("store", "/mnt", "-o", ",".join(words)).options


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_the_defaults() -> None:
    command = parse("/mnt")
    assert command.options == Options()
    assert command.store.name == "default"
    assert command.store.is_absolute()
    assert command.mount.mount_point == "/mnt"
    assert command.mount.kernel_options == frozenset()
    assert command.mount.patience.read_seconds == float("inf")
    assert command.mount.patience.head_seconds == 10.0
    assert (command.foreground, command.fake, command.verbose) == (False, False, False)
    assert command.debug is None


def test_store_and_mount_point() -> None:
    assert parse("store", "/mnt").store == Path.cwd() / "store"
    assert parse("default", "/mnt").store == parse("/mnt").store
    assert parse("store", "relative/../m").mount.mount_point == os.path.realpath("m")
    assert parse("--", "-store", "/mnt").store == Path.cwd() / "-store"
    assert parse("store", "/mnt").mount.source == str(Path.cwd() / "store")
    assert parse("default", "/mnt").mount.source == "default"
    assert parse("store", "/mnt", "-o", "fsname=x").mount.source == "x"
    for empty in (("",), ("", "/mnt"), ("store", "")):  # a variable without a value, perhaps
        assert "is empty" in refusal(*empty)
    for wrong in ((), ("a", "b", "c")):
        assert "expected [STORE] MOUNTPOINT" in refusal(*wrong)


def test_flags_of_mount() -> None:
    command = parse("store", "/mnt", "-sfnv", "-o", "rw,what")
    assert (command.fake, command.verbose) == (True, True)
    assert parse("-f", "-v", "store", "/mnt", "-orw").fake
    assert parse("-voro", "/mnt").mount.kernel_options == {"ro"}
    assert parse("/mnt", "--foreground").foreground
    assert "unknown flag -x" in refusal("/mnt", "-x")
    assert "unknown option --what" in refusal("/mnt", "--what")
    assert "unknown option --foreground=1" in refusal("/mnt", "--foreground=1")
    assert "-o needs an option" in refusal("/mnt", "-o")


def test_the_words_of_fstab_and_the_kernel() -> None:
    words = [*sorted(IGNORED_WORDS), "x-systemd.automount", "X-mount.mkdir", "user=paul"]
    assert options(*words) == Options()
    kernel = parse("/mnt", "-o", ",".join(sorted(KERNEL_WORDS))).mount
    assert kernel.kernel_options == KERNEL_WORDS
    assert kernel.syncs
    assert not parse("/mnt", "-o", "rw,noexec").mount.syncs
    assert parse("/mnt", "-o", "subtype=protozorfs").mount.kernel_options == frozenset()


@pytest.mark.parametrize("word", ["nonempty", "what=1", "peers=a:1", "DHT", "no_dht"])
def test_unknown_words_are_refused_by_name(word: str) -> None:
    assert f"unknown option {word.partition('=')[0]}" in refusal("/mnt", "-o", f"ro,{word}")
    assert parse("/mnt", "-s", "-o", word).options == Options()


def test_every_option_of_the_node() -> None:
    assert options(
        *("port=4711", "bind=[::1]", "peer=[::1]:4000", "peer=host:1", "bootstrap=127.0.0.1:6881"),
        *("nodht", "nolan", "noportmap", "dht_rate=7", "sparse", "local", "read_timeout=2.5"),
        *("head_timeout=0", "cache_size=50M", "live_from=end", "noinotify", "force_append"),
        *("ephemeral_id", "scrub=20M", "debug"),
    ) == Options(
        port=4711,
        bind="::1",
        peers=(Address("::1", 4000), Address("host", 1)),
        bootstrap=(Address("127.0.0.1", 6881),),
        nodht=True,
        nolan=True,
        noportmap=True,
        dht_rate=7,
        sparse=True,
        local=True,
        read_timeout=2.5,
        head_timeout=0.0,
        cache_size=50 * 1024 * 1024,
        live_from="end",
        noinotify=True,
        force_append=True,
        ephemeral_id=True,
        scrub=20 * 1024 * 1024,
    )


def test_the_rate_of_a_scrub_may_be_left_out() -> None:
    assert options("scrub") == Options(scrub=DEFAULT_SCRUB_RATE)
    assert refusal("/mnt", "-o", "scrub=10K") == "option scrub=10240: at least 64K a second"


def test_the_address_has_two_names() -> None:
    assert options("listen=::1") == options("bind=[::1]") == Options(bind="::1")
    assert options("bind=::1", "listen=::2") == Options(bind="::2")
    assert refusal("/mnt", "-o", "listen=name").startswith("option listen=name: ")


def test_what_opens_and_reads_wait() -> None:
    def patience(word: str) -> tuple[float, float]:
        waits = parse("/mnt", "-o", word).mount.patience
        return waits.read_seconds, waits.head_seconds

    assert patience("read_timeout=3") == (3.0, 10.0)
    assert patience("head_timeout=1") == (float("inf"), 1.0)
    assert patience("local") == (float("inf"), 0.0)  # an open never waits then


@pytest.mark.parametrize(
    "word",
    [
        *("port=0", "port=65536", "port=x", "port=-1", "port=٣", "bind=name", "peer=host"),
        *("peer=::1:4000", "peer=:4000", "peer=[::1]", "peer=[x]:1", "peer=host:0", "dht_rate=0"),
        *("read_timeout=x", "read_timeout=-1", "read_timeout=inf", "head_timeout=nan"),
        *("cache_size=50X", "cache_size=M", "live_from=middle", "subtype=ext4", "scrub=x"),
    ],
)
def test_wrong_values_are_refused_by_name(word: str) -> None:
    assert refusal("/mnt", "-o", word).startswith(f"option {word}: ")


def test_values_where_there_are_none_and_none_where_there_are() -> None:
    assert "option nodht takes no value" in refusal("/mnt", "-o", "nodht=1")
    assert "option ro takes no value" in refusal("/mnt", "-o", "ro=1")
    for word in ("port", "peer=", "fsname", "cache_size=", "scrub="):
        assert f"option {word.rstrip('=')} needs a value" in refusal("/mnt", "-o", word)


def test_debug() -> None:
    assert parse("/mnt", "--debug").debug == ()
    assert parse("/mnt", "--debug=fs,swarm.driver").debug == ("fs", "swarm.driver")
    assert parse("/mnt", "-o", "debug=fs:swarm").debug == ("fs", "swarm")
    assert parse("/mnt", "-o", "debug").debug == ()
    assert parse("/mnt", PROTOZORFS_DEBUG="1").debug == ()
    assert parse("/mnt", PROTOZORFS_DEBUG="fs,log").debug == ("fs", "log")
    assert parse("/mnt", "--debug=dht", PROTOZORFS_DEBUG="fs").debug == ("dht",)
    assert parse("/mnt", PROTOZORFS_DEBUG="").debug is None
    assert "names no module" in refusal("/mnt", "--debug=")


@pytest.mark.parametrize(
    ("flag", "what"),
    [("-h", "help"), ("--help", "help"), ("-V", "version"), ("--version", "version")],
)
def test_help(flag: str, what: str) -> None:
    with pytest.raises(HelpWanted, match=what):
        parse(flag)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1023", 1023),
        ("1K", 1024),
        ("50M", 50 << 20),
        ("2GiB", 2 << 30),
        ("1tb", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_any_words_survive_escaping(words: list[str]) -> None:
    escaped = [word.replace("\\", "\\\\").replace(",", "\\,") for word in words]
    assert split_options(",".join(escaped)) == words


@pytest.mark.parametrize(
    ("environ", "data"),
    [
        ({"HOME": "/h"}, "/h/.local/share"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/data"}, "/data"),
        ({"HOME": "/h", "XDG_DATA_HOME": ""}, "/h/.local/share"),
        ({"HOME": "/h", "XDG_DATA_HOME": "data"}, "/h/.local/share"),
        ({"HOME": "h"}, "/password/file/.local/share"),
        ({"HOME": ""}, "/password/file/.local/share"),
        ({}, "/password/file/.local/share"),
    ],
)
def test_where_the_default_store_is(
    environ: dict[str, str], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = pwd.struct_passwd(("x", "x", 1, 1, "", "/password/file", ""))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert default_store() == Path(data, "protozorfs", "default")


def test_who_has_no_home_is_told_to_name_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="there is no home for the default store"):
        default_store()
