"""`protozorfs check --evidence`, and the verifier to which its output is piped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from protozorfs.feeds.evidence import FILE_NAME
from protozorfs.log.format import encode_evidence
from tests.commands.test_feed_commands import COMMAND, COMMAND_SECONDS, STRANGER
from tests.evidence_verifier import VERIFIER
from tests.mounts import mounted
from tests.unit.log.log_tools import KEY_PAIR, two_histories

FEED_ID = KEY_PAIR.public_key.hex()
SAID = "The key signed two histories of fork 0, of lengths 7 and 7, with different trees."


def run(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(arguments, input=stdin, capture_output=True, timeout=COMMAND_SECONDS)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def check(feed: str, store: Path) -> tuple[int, str, str]:
    return run(COMMAND, "check", "--evidence", feed, store)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that follows a feed of which it has evidence."""
    path = tmp_path_factory.mktemp("made") / "m.store"
    assert run(COMMAND, "add", FEED_ID, "forked", "--store", path)[0] == 0
    directory = path / "feeds" / FEED_ID[:2] / FEED_ID
    directory.mkdir(parents=True)
    (directory / FILE_NAME).write_bytes(encode_evidence(two_histories()))
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of that store."""
    return Path(shutil.copytree(made, tmp_path / "m.store"))


def assert_verified(text: str) -> None:
    proven = run(sys.executable, VERIFIER, stdin=text.encode())
    assert proven == (0, f"Feed {FEED_ID}:\n{SAID}\n", "")


def test_it_is_printed_by_id(store: Path) -> None:
    code, text, errors = check(FEED_ID.upper(), store)
    assert (code, errors) == (0, "")
    assert_verified(text)


def test_it_is_printed_by_name(store: Path) -> None:
    assert_verified(check("forked", store)[1])


@pytest.mark.fuse
def test_it_is_printed_while_the_store_is_mounted(store: Path, tmp_path: Path) -> None:
    with mounted(tmp_path, "-o", "bind=127.0.0.1,nodht,nolan,noportmap") as mount:
        assert mount.store == store
        assert_verified(check("forked", store)[1])
        # A path in a mount is that of its store, not of the default one.
        assert_verified(run(COMMAND, "check", "--evidence", mount.path / "forked")[1])


def test_what_there_is_no_evidence_of(store: Path, tmp_path: Path) -> None:
    assert check("nothing", store) == (1, "", "protozorfs: nothing: no feed of that name\n")
    missing = tmp_path / "missing"
    for empty in (store, missing):
        said = f"protozorfs: the store {empty} has nothing of feed {STRANGER}\n"
        assert check(STRANGER, empty) == (1, "", said)
    assert not missing.exists()
    evidence = store / "feeds" / FEED_ID[:2] / FEED_ID / FILE_NAME
    evidence.write_bytes(evidence.read_bytes()[:-1])
    code, text, errors = check(FEED_ID, store)
    assert (code, text) == (1, "")
    assert errors.endswith("/evidence, offset 0: a proof of a fork with a wrong checksum\n")
    evidence.unlink()
    said = f"protozorfs: no evidence of a fork is kept of feed {FEED_ID}\n"
    assert check(FEED_ID, store) == (1, "", said)


def test_a_command_line_without_a_feed_is_refused(store: Path) -> None:
    assert run(COMMAND, "check", "--evidence")[0] == 16


def test_the_verifier_reads_a_file(store: Path, tmp_path: Path) -> None:
    (tmp_path / "proof").write_text(check("forked", store)[1])
    said = run(sys.executable, VERIFIER, tmp_path / "proof")
    assert said == (0, f"Feed {FEED_ID}:\n{SAID}\n", "")
    assert run(sys.executable, VERIFIER, tmp_path / "missing")[0] == 1


def test_the_verifier_refuses_what_proves_nothing(store: Path) -> None:
    text = check("forked", store)[1]
    changed = text.replace('"length": 7', '"length": 6')
    for wrong in (changed, text[1:], "", "{}", "\0", "[" * 100_000):
        code, said, errors = run(sys.executable, VERIFIER, stdin=wrong.encode())
        assert (code, said) == (1, "")
        assert errors.startswith("verify-evidence: nothing is proven: ")
    assert run(sys.executable, VERIFIER, stdin=b"\xff")[0] == 1
