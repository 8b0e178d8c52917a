"""Following on a network without the DHT: what tools see of a feed that is not found yet, and how
soon one that was let go is back."""

from __future__ import annotations

import errno
import logging
import re
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.options import DEFAULT_HEAD_TIMEOUT
from protozorfs.swarm.lan import EARLY_AGE, REPEAT_DELAYS
from protozorfs.types import FeedId
from tests.e2e.stage import WAIT_SECONDS, follow, id_of, mounted_on, running, shell, xattr
from tests.errnos import expect
from tests.namespaces import network
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mounts import Mount
    from tests.namespaces import Host

pytestmark = pytest.mark.fuse

logger = logging.getLogger(__name__)

OWNER, READER = 0, 1
SETTINGS = "nodht,noportmap"
PORT = 4711
TIMES = long_or_short(20, 2)
REPEATS_END = sum(REPEAT_DELAYS)
ANNOUNCED_SECONDS = REPEATS_END + EARLY_AGE + 0.5  # until a new feed is announced by turns only
BACK_SECONDS = 1.0  # until a feed that was let go is read again
LOAD = [sys.executable, "-c", "while True: pass"]
LOADS = 2


@dataclass
class Lan:
    """Two hosts on one link, each with a mount."""

    hosts: list[Host]
    owner: Mount
    reader: Mount
    directory: Path
    count: int = 0

    def new_feed(self) -> tuple[FeedId, str]:
        """A feed at the owner that nobody follows; its ID and content."""
        self.count += 1
        feed = self.owner.path / f"feed{self.count}"
        content = f"hello {self.count}\n"
        feed.write_text(content)
        return id_of(feed), content


@contextmanager
def on_a_lan(directory: Path) -> Iterator[Lan]:
    with network(2, [(OWNER, READER)]) as hosts, ExitStack() as stack:
        owner = stack.enter_context(mounted_on(hosts[OWNER], directory, "owner", SETTINGS))
        reader = stack.enter_context(mounted_on(hosts[READER], directory, "reader", SETTINGS))
        yield Lan(hosts, owner, reader, directory)


@pytest.fixture(scope="module", params=long_or_short(["quiet", "busy"], ["quiet"]))
def lan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """On a machine that is quiet, or has more to do than it can."""
    with on_a_lan(tmp_path_factory.mktemp("lan")) as staged, ExitStack() as stack:
        for _ in range(LOADS if request.param == "busy" else 0):
            stack.enter_context(running(*LOAD))
        yield staged


@contextmanager
def alone(directory: Path, *more: str) -> Iterator[tuple[Path, str]]:
    """A mount on a network where nobody else is: an unknown feed in it, and its ID."""
    settings = ",".join((SETTINGS, *more))
    with network(1, []) as hosts, mounted_on(hosts[0], directory, "alone", settings) as mount:
        stranger = FeedId(crypto.key_pair(bytes(32)).public_key)
        yield follow(stranger, mount.path / "paul"), stranger.hex()


def protozorfs(*arguments: str | Path) -> list[str]:
    """The command of this environment."""
    return [str(Path(sys.executable).with_name("protozorfs")), *map(str, arguments)]


def run(command: str) -> tuple[int, str]:
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=WAIT_SECONDS)
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize(
    "tool",
    [
        "cat {0}",
        "cp {0} {1} && cat {1}",
        "find {0} -empty -delete; cat {0}",
        "dd status=none if={0}",
        "python3 -c \"print(end=open('{0}').read())\"",
    ],
)
def test_a_tool_waits_for_the_first_head(lan: Lan, tool: str) -> None:
    for _ in range(TIMES):
        feed_id, content = lan.new_feed()
        path = lan.reader.path / f"feed{lan.count}"
        command = tool.format(path, lan.directory / f"copy{lan.count}")
        assert run(f"ln -s {feed_id.hex()} {path}; {command}") == (0, content)


def test_tar_archives_nothing_that_is_not_found(lan: Lan) -> None:
    """It asks not to wait (O_NONBLOCK): it fails, or has all."""
    for _ in range(TIMES):
        feed_id, content = lan.new_feed()
        path = lan.reader.path / f"feed{lan.count}"
        archive = f"tar -C {lan.reader.path} -S -cf - {path.name} 2>&1 | tar -xOf -"
        code, said = run(f"set -o pipefail; ln -s {feed_id.hex()} {path}; {archive}")
        assert (code, said) == (0, content) or code


def test_a_visit_by_the_command(lan: Lan) -> None:
    for _ in range(TIMES):
        feed_id, content = lan.new_feed()
        store = lan.directory / f"store{lan.count}"
        command = protozorfs("read", feed_id.hex(), "--no-follow", "--store", store, "-o", SETTINGS)
        done = subprocess.run(
            lan.hosts[READER].command(*command),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, content, "")


def test_a_visit_by_the_command_through_a_mount(lan: Lan) -> None:
    for _ in range(TIMES):
        feed_id, content = lan.new_feed()
        store = lan.reader.store
        assert (
            shell(shlex.join(protozorfs("read", feed_id.hex(), "--no-follow", "--store", store)))
            == content
        )
        feed_id, content = lan.new_feed()
        command = protozorfs("read", feed_id.hex(), "--store", store)
        with running(*command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == content.encode()


def test_a_feed_that_was_let_go_is_back_within_a_second(lan: Lan) -> None:
    feed_id, content = lan.new_feed()
    path = lan.reader.path / "paul"
    assert run(f"ln -s {feed_id.hex()} {path}; cat {path}") == (0, content)
    for _ in range(TIMES):
        path.unlink()
        start = time.monotonic()
        follow(feed_id, path)
        assert path.read_text() == content
        took = time.monotonic() - start
        logger.info("back after %.3f s", took)
        assert took < BACK_SECONDS


def test_who_cannot_be_dialled_hears_an_answer_within_the_minute(tmp_path: Path) -> None:
    """The owner has just announced the feed; it cannot connect to the reader that asks for it."""
    settings = f"{SETTINGS},port={PORT}"
    with on_a_lan(tmp_path) as lan:
        feed_id, content = lan.new_feed()
        path = lan.reader.path / "paul"
        assert run(f"ln -s {feed_id.hex()} {path}; cat {path}") == (0, content)
        time.sleep(ANNOUNCED_SECONDS)
        lan.hosts[READER].refuse_connections(PORT)
        with mounted_on(lan.hosts[READER], tmp_path, "hidden", settings) as hidden:
            lan.reader.stop()
            start = time.monotonic()
            assert follow(feed_id, hidden.path / "paul").read_text() == content
            assert time.monotonic() - start < BACK_SECONDS


def test_where_nobody_has_it_an_open_fails_and_says_who_was_asked(tmp_path: Path) -> None:
    with alone(tmp_path, "head_timeout=0.5") as (path, feed_id):
        why = path.parent / ".protozorfs" / "feeds" / path.name / "why"
        done = subprocess.run(["cat", path], capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert done.stderr == f"cat: {path}: No data available\n"
        sentence = why.read_text()
        assert re.fullmatch(
            "nobody waits: no head is known yet; no peer that has the feed is connected; no other "
            r"is known; the local network (is being asked|was asked [\d.]+ s ago); see that "
            r"somebody who has it is up, or name its address with peer=HOST:PORT\n",
            sentence,
        )
        store = path.parent.with_name("alone.store")
        read = protozorfs("read", feed_id, "--no-follow", "--store", store)
        done = subprocess.run(read, capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            "protozorfs: nobody who has this feed was found: no head is known yet; no peer that "
        )
        listed = shell(shlex.join(protozorfs("ls", "--store", store))).splitlines()[1].split()
        assert listed[:5] == ["paul", "resolving", "?", "?", "0"]


def test_the_wait_ends_when_nobody_can_answer_any_more(tmp_path: Path) -> None:
    """The last question to the local network is 6 seconds old by then."""
    with alone(tmp_path) as (path, _):
        start = time.monotonic()
        for least in (REPEATS_END, 0.0):
            expect(errno.ENODATA, path.read_bytes)
            assert least < time.monotonic() - start < DEFAULT_HEAD_TIMEOUT
        assert xattr(path, "state") == "offline"


def test_a_tailer_goes_on_when_the_feed_is_found(tmp_path: Path) -> None:
    """`tail -F` opens it without waiting, and tries again: its owner comes only then."""
    with network(2, [(OWNER, READER)]) as hosts, ExitStack() as stack:
        owner_store = tmp_path / "owner.store"
        feed_id = shell(shlex.join(protozorfs("new", "journal", "--store", owner_store))).strip()
        options = f"{SETTINGS},head_timeout=1"
        reader = stack.enter_context(mounted_on(hosts[READER], tmp_path, "reader", options))
        path = reader.path / "paul"
        path.symlink_to(feed_id)
        tail = running("tail", "-F", "-n", "+1", "-s", "0.1", path, stdout=subprocess.PIPE)
        process = stack.enter_context(tail)
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"No data available" in process.stderr.readline()
        owner = stack.enter_context(mounted_on(hosts[OWNER], tmp_path, "owner", SETTINGS))
        shell(f"echo hello >> {owner.path}/journal")
        assert process.stdout.readline() == b"hello\n"
