"""protozorfs.cli.commands: mistakes of the user, as far as no store is needed to find them."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from protozorfs import crypto
from protozorfs.cli import commands
from protozorfs.cli.arguments import node_options
from protozorfs.cli.commands import run
from protozorfs.cli.options import parse_mount_command

STRANGER = crypto.key_pair(bytes(range(32))).public_key.hex()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "nonsense", "name"], 1, "not a feed ID: 'nonsense'"),
        (["add", "00" * 32, "name"], 1, "not a valid Ed25519 public key"),
        (["read", "nonsense"], 1, "not a feed ID"),
        (["write", "--peer", "nonsense"], 2, "option peer=nonsense: expected HOST:PORT"),
        (["write", "--peer", "a..b:1"], 2, "option peer=a..b:1: that is no host name"),
        (["write", "--bind", "nowhere"], 2, "option bind=nowhere: "),
        (["write", "-o", "nodht,what=1"], 2, "unknown option what; see --help"),
        (["read", STRANGER, "-o", "port=x"], 2, "option port=x: expected a port number"),
        (["write", "-o", "ro"], 2, "option ro is for a mount; see --help"),
        (["write", "-o", "dht_rate"], 2, "option dht_rate needs a value"),
        (["write", "-o"], 2, "-o"),
        (["write", "--port", "70000"], 2, "70000 is not in the range"),
        (["ls", "--store", ""], 2, "it is empty"),
        (["ls", "--store", "/dev/null/x"], 1, "protozorfs: /dev/null/x is not a directory\n"),
        (["new", ".hidden"], 1, ".hidden: the name of a feed that is made does not begin with"),
        (["new", STRANGER], 1, "a feed ID is no name"),
        (["write", "--name", ".live"], 1, ".live: "),
        (["id", "nowhere/feed"], 1, "protozorfs: nowhere: there is no such directory\n"),
        (["new", "/dev/null/feed"], 1, "protozorfs: "),
        (["ls", "--stroe", "x"], 2, "--stroe"),
        (["new"], 2, "NAME"),
        (["fly"], 2, "fly"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_a_sentence_and_a_code(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    printed = capsys.readouterr()
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    "command", [[], ["new"], ["add"], ["ls"], ["id"], ["rm"], ["write"], ["read"]]
)
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    assert "Usage: protozorfs" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"protozorfs {version('protozorfs')}\n"


def test_the_default_store_is_that_of_the_mount() -> None:
    store = commands.ls.make_context("ls", []).params["store"]
    assert store == parse_mount_command(["mount-point"], {}).store


def test_options_mean_what_they_mean_to_a_mount() -> None:
    words = "nodht,bootstrap=h:1,peer=[::1]:2,cache_size=50M,port=5,bind=::1,ephemeral_id"
    expected = parse_mount_command(["-o", words, "mount-point"], {}).options
    assert node_options(words.split(","), [], None, None) == expected
    assert node_options([words], [], None, None) == expected
    short = [word for word in words.split(",") if not word.startswith(("peer", "port", "bind"))]
    assert node_options(short, ["[::1]:2"], 5, "::1") == expected


def test_peers_add_up_and_of_two_ports_the_one_with_its_own_flag_counts() -> None:
    options = node_options(["peer=a:1,port=1", "peer=b:2"], ["c:3"], 2, None)
    assert [peer.host for peer in options.peers] == ["a", "b", "c"]
    assert options.port == 2
