"""The installed `protozorfs`, on a store and through its mount: the same words do the same."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from tests.mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = str(Path(sys.executable).with_name("protozorfs"))
COMMAND_SECONDS = 30.0
STRANGER = crypto.key_pair(bytes(range(32))).public_key.hex()
NOT_FOUND = "nobody who has this feed was found"
OTHER_STRANGER = crypto.key_pair(bytes(range(1, 33))).public_key.hex()
ALONE = "bind=127.0.0.1,nodht,nolan,noportmap"


@dataclass(frozen=True)
class Commands:
    """Runs commands on one store.

    Attributes:
        store: its directory.
        alone: for commands that use the network, unless a mount does it for them.
    """

    store: Path
    alone: tuple[str, ...] = ("-o", ALONE)

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        """What a command prints (its errors, if another exit code than 0 is expected)."""
        command = [COMMAND, *arguments, "--store", str(self.store)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return (done.stderr if code else done.stdout).removesuffix("\n")


@pytest.fixture(params=["store", pytest.param("mount", marks=pytest.mark.fuse)])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    """On a store that nobody has open, and on one that is mounted."""
    if request.param == "store":
        yield Commands(tmp_path / "m.store")
        return
    with mounted(tmp_path, "-o", ALONE) as mount:
        yield Commands(mount.store, alone=())


def test_a_feed_of_ones_own(commands: Commands) -> None:
    feed_id = commands.run("new", "journal")
    assert commands.run("id", "journal") == feed_id
    heading, line = commands.run("ls").splitlines()
    assert heading.split()[:2] == ["NAME", "STATE"]
    assert line.split() == ["journal", "owned", "0", "0", "0", "0", feed_id]
    commands.run("rm", "journal")
    assert commands.run("ls").split() == heading.split()


def test_a_followed_feed(commands: Commands) -> None:
    commands.run("add", STRANGER, "stranger")
    assert commands.run("id", "stranger") == STRANGER
    assert "there is a feed" in commands.run("add", STRANGER, "stranger", code=1)
    commands.run("rm", "stranger")
    assert commands.run("add", STRANGER) == STRANGER[:8]
    assert commands.run("id", STRANGER[:8]) == STRANGER
    command = [COMMAND, "add", STRANGER, "--store", str(commands.store)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (1, "")  # no name for what was not done


def test_names_that_no_mount_can_show(commands: Commands) -> None:
    for name in (".live", ".hidden", STRANGER, "", "n" * 256):
        commands.run("new", name, code=1)
        commands.run("write", "--name", name, "--no-serve", *commands.alone, code=1)
    assert "that name is reserved" in commands.run("add", STRANGER, ".live", code=1)
    assert len(commands.run("ls").splitlines()) == 1


def test_what_is_taken(commands: Commands) -> None:
    commands.run("new", "journal")
    said = "protozorfs: journal: there is a feed of that name"
    assert commands.run("new", "journal", code=1) == said
    commands.run("add", STRANGER, "stranger")
    commands.run("add", OTHER_STRANGER, "other")
    said = "protozorfs: again: this feed is here already, as stranger"
    assert commands.run("add", STRANGER, "again", code=1) == said
    said = "protozorfs: other: there is a feed of that name"
    assert commands.run("add", STRANGER, "other", code=1) == said


def test_an_empty_name_is_none(commands: Commands) -> None:
    for command in ("new", "id", "rm"):
        assert "a name has at least one byte" in commands.run(command, "", code=1)


def test_what_is_not_there(commands: Commands) -> None:
    assert commands.run("id", "nothing", code=1) == "protozorfs: nothing: no feed of that name"
    assert commands.run("rm", "nothing", code=1) == "protozorfs: nothing: no feed of that name"


def test_a_key_is_deleted_only_on_purpose(commands: Commands) -> None:
    write = ("write", "--name", "journal", "--no-serve", *commands.alone)
    feed_id = commands.run(*write, stdin="precious\n")
    assert commands.run("id", "journal") == feed_id
    said = "protozorfs: journal: its key would be lost: protozorfs rm --delete-key"
    assert commands.run("rm", "journal", code=1) == said
    for answer in ("n\n", ""):
        said = commands.run("rm", "--delete-key", "journal", code=1, stdin=answer)
        assert said.splitlines()[-1] == "protozorfs: nothing was done"
    assert commands.run("id", "journal") == feed_id
    commands.run("rm", "--delete-key", "journal", stdin="y\n")
    assert "no feed" in commands.run("id", "journal", code=1)


def test_nothing_is_known_of_a_feed(commands: Commands) -> None:
    commands.run("add", STRANGER, "stranger")
    said = commands.run("read", STRANGER, "--no-follow", *commands.alone, code=1)
    assert said == (
        f"protozorfs: {NOT_FOUND}: no head is known yet; no peer that has the feed is connected; "
        "no other is known; see that somebody who has it is up, or name its address with "
        "peer=HOST:PORT"
    )
    name, _, *lengths = commands.run("ls").splitlines()[1].split()
    assert (name, lengths[:3]) == ("stranger", ["?", "?", "0"])
    empty = commands.run("new", "empty")
    assert commands.run("read", empty, "--no-follow", *commands.alone) == ""


def test_write_then_read(commands: Commands) -> None:
    text = "".join(f"{number}\n" for number in range(50_000))
    feed_id = commands.run("write", "--no-serve", *commands.alone, stdin=text)
    assert commands.run("read", feed_id, "--no-follow", *commands.alone) == text.removesuffix("\n")
    assert commands.run("ls").splitlines()[1].split()[:2] == [feed_id[:8], "owned"]


def test_write_without_a_name_takes_no_name_that_a_killed_one_has_left(commands: Commands) -> None:
    commands.run("new", "new-feed")
    feed_id = commands.run("write", "--no-serve", *commands.alone, stdin="text")
    assert commands.run("id", feed_id[:8]) == feed_id


@pytest.mark.fuse
def test_a_path_in_a_mount_is_a_name(tmp_path: Path) -> None:
    elsewhere = Commands(tmp_path / "elsewhere")
    with mounted(tmp_path, "-o", ALONE) as mount:
        feed_id = elsewhere.run("new", str(mount.path / "journal"))
        assert elsewhere.run("id", str(mount.path / "journal")) == feed_id
        elsewhere.run("add", STRANGER, str(mount.path / "stranger"))
        assert sorted(path.name for path in mount.path.iterdir()) == ["journal", "stranger"]
        elsewhere.run("rm", str(mount.path / "stranger"))
        assert [path.name for path in mount.path.iterdir()] == ["journal"]
        refused = Commands(mount.store).run("read", feed_id, "-o", ALONE, code=1)
        assert "is mounted at" in refused
    assert "not a mount of protozorfs" in elsewhere.run("id", str(tmp_path / "m.store"), code=1)


def test_from_standard_input_here_to_standard_output_there(tmp_path: Path) -> None:
    """The two scripts of protozor: whatever is typed here comes out there, live."""
    port = free_port()
    arguments = ["--store", str(tmp_path / "writer"), "-o", f"{ALONE},port={port}"]
    with running("write", *arguments) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        feed_id = writer.stdout.readline().strip()
        writer.stdin.write("first\n")
        writer.stdin.flush()
        peer = ["--peer", f"127.0.0.1:{port}", "-o", ALONE]
        with running("read", feed_id, "--store", str(tmp_path / "reader"), *peer) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "first\n"
            writer.stdin.write("second\n")
            writer.stdin.flush()
            assert reader.stdout.readline() == "second\n"
            locked = Commands(tmp_path / "writer").run("ls", code=1)
            assert f"in use by process {writer.pid}" in locked
            started = time.monotonic()
            reader.terminate()
            assert reader.wait(COMMAND_SECONDS) == -signal.SIGTERM
            assert time.monotonic() - started < 2


def test_a_feed_that_nobody_has(tmp_path: Path) -> None:
    peer = ["--peer", f"127.0.0.1:{free_port()}", "-o", ALONE]
    said = Commands(tmp_path / "store").run("read", STRANGER, "--no-follow", *peer, code=1)
    assert said.startswith(f"protozorfs: {NOT_FOUND}: no head is known yet; no peer that has the ")
    assert "cannot be reached" in said


def test_reading_ends_with_who_reads_the_output(commands: Commands) -> None:
    """Without an append: `protozorfs read ID | head -1` gives the prompt back."""
    feed_id = commands.run(
        "write", "--name", "journal", "--no-serve", *commands.alone, stdin="first\nsecond\n"
    )
    with running("read", feed_id, "--store", str(commands.store), *commands.alone) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "first\n"
        time.sleep(0.5)
        assert reader.poll() is None
        reader.stdout.close()
        assert reader.wait(COMMAND_SECONDS) == -signal.SIGPIPE


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command with pipes, killed at the end."""
    with subprocess.Popen(
        [COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
