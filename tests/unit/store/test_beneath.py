"""protozorfs.store.beneath and lock: nothing that was planted in a store leads out of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreRefused
from protozorfs.store.beneath import Beneath, open_at_once, open_by_steps
from protozorfs.store.files import RealFiles
from protozorfs.store.layout import Store
from protozorfs.store.lock import LockHolder, current_holder, read_holder

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.store.beneath import OpenBeneath

WAIT_SECONDS = 20.0
OF_ROOT = b"a file of root's that is to stay"
UNREADABLE = LockHolder(None, None)


@pytest.fixture(params=[open_at_once, open_by_steps], ids=["openat2", "steps"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> RealFiles:
    way: OpenBeneath = request.param
    (tmp_path / "store").mkdir()
    descriptor = os.open(tmp_path / "store", os.O_RDONLY | os.O_DIRECTORY)
    return RealFiles(Beneath(descriptor, str(tmp_path / "store"), way))


def test_a_link_in_the_place_of_a_file_is_refused(files: RealFiles, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OF_ROOT)
    for name in ("a", "b.new"):
        (tmp_path / "store" / name).symlink_to(victim)
    for call in (
        lambda: files.open("a"),
        lambda: files.open("a", create=True),
        lambda: files.read("a"),
        lambda: files.replace("b", b"x"),
    ):
        with pytest.raises(StoreRefused, match="cannot be trusted: it is, or lies behind, a link"):
            call()
    assert victim.read_bytes() == OF_ROOT


def test_a_link_to_nothing_makes_nothing(files: RealFiles, tmp_path: Path) -> None:
    (tmp_path / "store" / "a").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreRefused):
        files.open("a", create=True)
    assert not (tmp_path / "victim").exists()


def test_a_link_on_the_way_is_refused(files: RealFiles, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "below").mkdir(parents=True)
    (tmp_path / "store" / "d").symlink_to(elsewhere)
    for call in (
        lambda: files.open("d/data", create=True),
        lambda: files.mkdir("d/new"),
        lambda: files.rmdir("d/below"),
        lambda: files.rename("d/below", "d/new"),
        lambda: files.remove("d/below"),
        lambda: files.listdir("d"),
        lambda: files.sync_dir("d"),
        lambda: files.stamp("d/below"),
    ):
        with pytest.raises(StoreRefused):
            call()
    assert os.listdir(elsewhere) == ["below"]
    with pytest.raises(FileExistsError):
        files.mkdir("d")  # what is there is no directory


def test_what_is_no_regular_file_is_refused_at_once(files: RealFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "store" / "pipe")
    with pytest.raises(StoreRefused, match="no regular file"):
        files.open("pipe")
    with pytest.raises(StoreRefused, match="no regular file"):
        files.read("pipe")
    with pytest.raises(NotADirectoryError):
        files.open("pipe/x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(files: RealFiles, tmp_path: Path) -> None:
    files.replace("a", b"x")
    os.chown(tmp_path / "store" / "a", 1, -1)
    with pytest.raises(StoreRefused, match="it belongs to user 1"):
        files.open("a")


def test_a_pipe_in_the_place_of_a_file_that_is_written_later_is_refused_at_once(
    tmp_path: Path,
) -> None:
    Store(tmp_path / "store").close()
    os.mkfifo(tmp_path / "store" / "mount.log")
    before = sorted(os.listdir(tmp_path / "store"))
    with pytest.raises(StoreRefused, match=r"mount\.log cannot be trusted: it is no regular file"):
        Store(tmp_path / "store")
    assert sorted(os.listdir(tmp_path / "store")) == before


@pytest.mark.parametrize(
    "planted",
    ["lock", "format.new", "node_key.new", "mount.log", "dht.new", "names", "stale.db.new"],
)
def test_links_planted_in_a_store_overwrite_nothing(tmp_path: Path, planted: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OF_ROOT)
    Store(tmp_path / "store").close()
    (tmp_path / "store" / planted).unlink(missing_ok=True)
    (tmp_path / "store" / planted).symlink_to(victim)
    with pytest.raises(StoreRefused, match=planted):
        Store(tmp_path / "store")
    assert victim.read_bytes() == OF_ROOT


def test_a_lock_that_is_a_pipe_or_endless_holds_nobody_up(tmp_path: Path) -> None:
    """In a process of its own, which can be killed if it does."""
    os.mkfifo(tmp_path / "lock")
    script = "import sys, pathlib; from protozorfs.store.lock import read_holder, current_holder\n"
    script += "path = pathlib.Path(sys.argv[1]); print(read_holder(path), current_holder(path))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert done.stdout == f"{UNREADABLE} None\n", done.stderr
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").symlink_to("/dev/zero")
    (tmp_path / "lock").unlink()
    with (tmp_path / "lock").open("wb") as file:
        file.truncate(1 << 40)
    assert (read_holder(tmp_path), current_holder(tmp_path)) == (UNREADABLE, None)
