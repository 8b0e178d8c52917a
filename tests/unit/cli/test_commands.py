"""protozorfs.cli.commands: mistakes of the user, as far as no store is needed to find them."""

from __future__ import annotations

import pytest

from protozorfs.cli.arguments import default_store
from protozorfs.cli.commands import run
from protozorfs.cli.options import parse_mount_command


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "nonsense", "name"], 1, "not a feed ID: 'nonsense'"),
        (["add", "00" * 32, "name"], 1, "not a valid Ed25519 public key"),
        (["read", "nonsense"], 1, "not a feed ID"),
        (["write", "--peer", "nonsense"], 1, "nonsense: expected HOST:PORT"),
        (["write", "--peer", "a..b:1"], 1, "a..b:1: that is no host name"),
        (["write", "--port", "70000"], 2, "70000 is not in the range"),
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


def test_the_default_store_is_that_of_the_mount() -> None:
    assert parse_mount_command(["mount-point"], {}).store == default_store()
