"""`protozorfs check` on whole stores: what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from protozorfs import crypto
from protozorfs.log.feed import Log
from protozorfs.store.layout import Store, feed_path
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId
from tests.commands.test_feed_commands import ALONE, COMMAND, COMMAND_SECONDS
from tests.mounts import mounted

if TYPE_CHECKING:
    from pathlib import Path

SEED = bytes(range(32))
OWN = FeedId(crypto.key_pair(SEED).public_key)
FIELDS = ["format", "store", "repair", "exit_code", "feeds", "bytes", "errors", "notes", "findings"]


def check(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [COMMAND, "check", *arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def check_as_json(store: Path, *arguments: str) -> dict[str, Any]:
    code, text, errors = check("--json", *arguments, store)
    found: dict[str, Any] = json.loads(text)
    assert errors == ""
    assert list(found) == FIELDS
    assert found["exit_code"] == code
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one owned feed of two blocks, named journal."""
    path = tmp_path / "m.store"
    with Store(path) as opened:
        log = Log.create(opened.feed(OWN), SEED)
        opened.names.add(NameRow(b"journal", OWN, True, 1, 1))
        log.append([b"one\n"])
        log.append([b"two\n"])
        log.close()
    return path


def damage(store: Path, name: str, offset: int) -> None:
    path = store / feed_path(OWN) / name
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def test_a_sound_store(store: Path) -> None:
    said = "1 feed and 8 B of blocks were checked: 0 errors, 0 notes\n"
    assert check(store) == (0, said, "")
    assert check_as_json(store)["findings"] == []


def test_damage_is_said_with_what_it_means_and_what_to_do(store: Path) -> None:
    damage(store, "data", 5)
    code, text, errors = check(store)
    assert (code, errors) == (4, "")
    lines = text.splitlines()
    assert lines[0] == f"journal ({OWN.hex()})"
    assert "  error: data: 1 block is not what was written: 1" in lines
    assert "    reading these blocks fails, and nothing is appended to the feed" in lines
    assert any("--cut-owned ID" in line for line in lines)
    assert lines[-1].startswith("1 feed and 8 B of blocks were checked: 1 error, ")
    found = check_as_json(store)
    (error,) = (one for one in found["findings"] if one["severity"] == "error")
    assert (found["errors"], found["feeds"], found["bytes"]) == (1, 1, 8)
    assert {key: error[key] for key in ("code", "remedy", "state", "feed", "name", "file")} == {
        "code": "own-blocks-damaged",
        "remedy": "cut",
        "state": "found",
        "feed": OWN.hex(),
        "name": "journal",
        "file": f"{feed_path(OWN)}/data",
    }


def test_notes_are_no_errors(store: Path) -> None:
    (store / "note.txt").write_text("x")
    code, text, _ = check(store)
    assert code == 0
    assert text.startswith("the store\n  note: note.txt: ")
    assert [one["feed"] for one in check_as_json(store)["findings"]] == [None]


def test_names_are_printed_so_that_no_terminal_obeys_them(store: Path) -> None:
    with Store(store) as opened:
        opened.names.rename(b"journal", b"a\x1b[2J\xff")
    (store / feed_path(OWN) / "x\x1b[1m").write_text("")
    assert "\x1b" not in check(store)[1]
    (found,) = check_as_json(store)["findings"]
    assert found["name"] == "a\\x1b[2J\\xff"
    assert found["file"].endswith("x\\x1b[1m")


def test_what_is_no_store_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        assert check(path) == (8, "", f"protozorfs: {path} is no store\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_wrong_command_line(store: Path) -> None:
    for arguments in (["--nosuch"], [store, store], ["--json", "--evidence", OWN.hex(), store]):
        assert check(*arguments)[0] == 16


@pytest.mark.fuse
def test_a_mounted_store_is_not_checked(store: Path, tmp_path: Path) -> None:
    with mounted(tmp_path, "-o", ALONE) as mount:
        assert mount.store == store
        code, text, errors = check(store)
        assert (code, text) == (8, "")
        assert f", mounted at {mount.path}: unmount it, then check it" in errors
    assert check(store)[0] == 0


def test_a_store_on_a_read_only_file_system(store: Path) -> None:
    mount = f"mount --bind {store} {store} && mount -o remount,ro,bind {store} {store}"
    script = f"{mount} || exit 99; ! touch {store}/x 2>/dev/null && exec {COMMAND} check {store}"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("no mount can be made here")
    said = "1 feed and 8 B of blocks were checked: 0 errors, 0 notes\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_ctrl_c_cancels(store: Path) -> None:
    with Store(store) as opened:
        log = Log.open(opened.feed(OWN))
        log.append([b"x" * 100] * 40_000)
        log.close()
    with subprocess.Popen(
        [COMMAND, "check", store], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + COMMAND_SECONDS
        while not is_locked(store) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert (process.returncode, text, errors) == (32, "", "protozorfs: cancelled\n")


def is_locked(store: Path) -> bool:
    with (store / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_copy_is_sound_and_known_to_be_one(store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store, tmp_path / "copy")
    found = check_as_json(copy)
    assert found["errors"] == 0
    assert {one["code"] for one in found["findings"]} == {"displaced", "node-place"}
