"""`protozorfs check` on whole stores: what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

from protozorfs import crypto
from protozorfs.cli.commands import run
from protozorfs.cli.options import DEFAULT_STORE, default_store
from protozorfs.fs import mount_points
from protozorfs.log.feed import Log
from protozorfs.store.files import RealFiles
from protozorfs.store.layout import Store, feed_path
from protozorfs.store.left import LEFT_BYTES, LEFT_FILES, encode_left
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId
from tests.commands.test_feed_commands import ALONE, COMMAND, COMMAND_SECONDS
from tests.mounts import mounted

if TYPE_CHECKING:
    from pathlib import Path

SEED = bytes(range(32))
OWN = FeedId(crypto.key_pair(SEED).public_key)
FEEDS, DESCRIPTORS = 30, 45
FIELDS = ["format", "store", "repair", "exit_code", "feeds", "bytes", "errors", "notes", "findings"]


def check(*arguments: str | Path) -> tuple[int, str, str]:
    """The command in this process; how it starts and ends is for the tests that start it."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = run(["check", *map(str, arguments)])
    return code, out.getvalue(), errors.getvalue()


def start_check(*arguments: str | Path, stdin: str = "") -> tuple[int, str, str]:
    """The installed command."""
    done = subprocess.run(
        [COMMAND, "check", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
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
    """Changes a bit as a disk does: the mark of a clean stop does not see it in the times."""
    directory = store / feed_path(OWN)
    path = directory / name
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    mark = directory / "clean"
    if name in LEFT_FILES and mark.exists():
        files = RealFiles(directory)
        left = encode_left([files.stamp(one) for one in LEFT_FILES])
        mark.write_bytes(mark.read_bytes()[:-LEFT_BYTES] + left)


def test_a_sound_store(store: Path) -> None:
    said = "1 feed and 8 B of blocks were checked: 0 errors, 0 notes\n"
    assert check(store) == start_check(store) == (0, said, "")
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
    assert lines[-1] == "1 feed and 8 B of blocks were checked: 1 error, 0 notes"
    found = check_as_json(store)
    (error,) = found["findings"]
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


def test_a_mount_point_is_told_from_the_store_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = tmp_path / "mountinfo"
    monkeypatch.setattr(mount_points, "_MOUNTINFO", str(entries))
    for source, store in (("/my\\040store", "/my store"), (DEFAULT_STORE, default_store())):
        entries.write_text(f"36 35 0:45 / {tmp_path} rw - fuse.protozorfs {source} rw\n")
        meant = f"but where {store} is mounted: unmount it, and name the store"
        assert check(tmp_path) == (8, "", f"protozorfs: {tmp_path} is no store, {meant}\n")


def test_what_a_repair_would_correct_is_said_last(store: Path) -> None:
    command = f"protozorfs check --repair {store}"
    (store / "names").write_bytes(b"rubbish")
    assert check(store)[1].splitlines()[-1] == f"to correct it: {command}"
    damage(store, "data", 5)
    assert check(store)[1].splitlines()[-1] == f"to correct 1 of 2 errors: {command}"
    assert "to correct" not in check("--repair", store)[1]
    code, said, _ = check(store)
    assert (code, "to correct" in said) == (4, False)  # only a cut would


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


def repaired(store: Path, *arguments: str) -> dict[str, Any]:
    """What a repair says; a check after it says the same of what is left."""
    found = check_as_json(store, "--repair", *arguments)
    left = {one["code"] for one in found["findings"] if one["state"] == "left"}
    assert {one["code"] for one in check_as_json(store)["findings"]} == left
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {one["code"]: one["state"] for one in found["findings"]}


def blocks_of(store: Path) -> list[bytes]:
    with Store(store) as opened:
        log = Log.open(opened.feed(OWN))
        blocks = [log.block(index) for index in range(log.length)]
        log.close()
    return blocks


def test_nothing_to_repair(store: Path) -> None:
    found = repaired(store)
    assert (found["exit_code"], found["repair"], found["findings"]) == (0, True, [])


def test_what_follows_from_other_files_is_repaired_and_no_block_is_lost(store: Path) -> None:
    for name, code in (
        ("clean", "clean-damaged"),
        ("bitfield", "bitfield-damaged"),
        ("head", "head-copy-damaged"),
        ("tree", "nodes-damaged"),
    ):
        damage(store, name, 2 * 4096 + 20 if name == "head" else 50)
        found = repaired(store)
        assert (found["exit_code"], states(found)) == (1, {code: "repaired"}), name
    for name in ("names", "names.copy", "inodes", "stale.db", "dht", "spare", "lock", "names.new"):
        (store / name).write_bytes((store / name).read_bytes()[:-1] if name == "names" else b"x")
        if name == "lock":
            (store / name).unlink()
        found = repaired(store)
        assert set(states(found).values()) == {"repaired"}, name
    assert blocks_of(store) == [b"one\n", b"two\n"]


def test_text_of_a_repair(store: Path) -> None:
    damage(store, "bitfield", 50)
    code, text, errors = check("--repair", store)
    assert (code, errors) == (1, "")
    assert "  error: bitfield: " in text
    assert text.endswith(
        "after the repair:\n"
        "1 feed and 8 B of blocks were checked: 1 error, 0 notes; repaired: 1 error\n"
    )


def test_owned_blocks_are_never_touched_unless_the_feed_is_named(store: Path) -> None:
    damage(store, "data", 5)
    damage(store, "bitfield", 50)
    before = (store / feed_path(OWN) / "data").read_bytes()
    for more in ([], ["--yes"]):
        found = repaired(store, *more)
        assert found["exit_code"] == 4
        assert set(states(found).values()) == {"left"}
        assert (store / feed_path(OWN) / "data").read_bytes() == before
    found = repaired(store, "--cut-owned", OWN.hex(), "--yes")
    assert found["exit_code"] == 1
    assert states(found)["own-blocks-damaged"] == "repaired"
    assert states(found)["kept-aside"] == "left"
    assert blocks_of(store) == [b"one\n"]
    assert (store / feed_path(OWN) / "data.4.cut").read_bytes() == before[4:]


def test_a_cut_asks_and_no_answer_is_no(store: Path) -> None:
    damage(store, "data", 5)
    wanted = ("--repair", "--cut-owned", OWN.hex(), store)
    code, _, errors = start_check(*wanted, stdin="n\n")
    assert code == 4
    assert "A cut of journal leaves its first 1 blocks of 2 blocks (4 B)" in errors
    assert "begins a second history" in errors
    assert start_check(*wanted)[0] == 32  # the end of input
    assert states(check_as_json(store))["own-blocks-damaged"] == "found"


def test_heads_that_are_lost_are_made_anew_by_a_cut_only(store: Path) -> None:
    (store / feed_path(OWN) / "head").write_bytes(b"")
    assert states(repaired(store))["own-heads-lost"] == "left"
    assert (
        states(repaired(store, "--cut-owned", OWN.hex(), "--yes"))["own-heads-lost"] == "repaired"
    )
    assert blocks_of(store) == [b"one\n", b"two\n"]


def test_a_sound_feed_is_not_cut(store: Path) -> None:
    code, _, errors = check("--repair", "--cut-owned", OWN.hex(), "--yes", store)
    assert (code, errors) == (8, f"protozorfs: {OWN.hex()}: no damage that a cut would mend\n")
    for arguments in (["--cut-owned", OWN.hex()], ["--yes"], ["--repair", "--cut-owned", "x"]):
        assert check(*arguments, store)[0] == 16
    assert blocks_of(store) == [b"one\n", b"two\n"]


def test_a_copy_that_is_damaged_stays_as_it_is(store: Path, tmp_path: Path) -> None:
    """What tells it from its original must not go with a repair."""
    copy = shutil.copytree(store, tmp_path / "copy")
    damage(copy, "bitfield", 50)
    found = repaired(copy)
    assert found["exit_code"] == 4
    assert states(found)["displaced"] == states(found)["bitfield-damaged"] == "left"


def test_a_store_that_cannot_be_opened_is_left(store: Path) -> None:
    (store / "format").write_text("protozorfs store 3\n")
    damage(store, "bitfield", 50)
    code, text, errors = check("--json", "--repair", store)
    assert code == 4
    assert errors.startswith("protozorfs: the store cannot be opened, so that no feed was repaired")
    assert states(json.loads(text)) == {"format-damaged": "left", "bitfield-damaged": "left"}


def test_many_feeds_are_checked_and_repaired_with_few_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as opened:
        for number in range(FEEDS):
            seed = bytes([number]) * 32
            feed_id = FeedId(crypto.key_pair(seed).public_key)
            log = Log.create(opened.feed(feed_id), seed)
            opened.names.add(NameRow(b"feed %d" % number, feed_id, True, 1, 1))
            log.append([b"block"])
            log.close()
            (path / feed_path(feed_id) / "clean").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + DESCRIPTORS, hard))
    try:
        done = [check(path)[0], check("--repair", "--yes", path)[0], check(path)[0]]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert done == [0, 0, 0]
    assert len(os.listdir("/proc/self/fd")) == before
