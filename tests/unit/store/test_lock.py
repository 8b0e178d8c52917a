"""protozorfs.store.lock: looking at a lock without taking it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreLocked
from protozorfs.store.lock import LockHolder, StoreLock, current_holder, read_holder
from tests.unit.store.roots import root_of

if TYPE_CHECKING:
    from pathlib import Path


def test_who_holds_it_now(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert current_holder(tmp_path) is None
    assert not path.exists()
    held = StoreLock(root_of(tmp_path), "/mnt/feeds")
    assert current_holder(tmp_path) == LockHolder(os.getpid(), "/mnt/feeds")
    held.release()
    assert current_holder(tmp_path) is None


def test_a_mount_point_is_kept_as_bytes(tmp_path: Path) -> None:
    mount_point = os.fsdecode(b"/mnt/\xff\n" + "\u2028ü".encode())
    held = StoreLock(root_of(tmp_path), mount_point)
    assert current_holder(tmp_path) == LockHolder(os.getpid(), mount_point)
    held.release()
    (tmp_path / "lock").write_text(r'{"pid": 1, "mount_point": "\ud800"}')  # nothing of ours
    assert read_holder(tmp_path) == LockHolder(1, None)


def test_looking_neither_takes_nor_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"somebody else's")
    assert current_holder(tmp_path) is None
    assert path.read_bytes() == b"somebody else's"
    held = StoreLock(root_of(tmp_path))
    assert current_holder(tmp_path) == LockHolder(os.getpid(), None)
    held.release()
    StoreLock(root_of(tmp_path)).release()


def test_who_looks_keeps_nobody_from_taking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(looking))
    StoreLock(root_of(tmp_path)).release()


def test_who_never_stops_looking_is_waited_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        with pytest.raises(StoreLocked):
            StoreLock(root_of(tmp_path))
    assert sum(waits) < 1
    StoreLock(root_of(tmp_path)).release()


def test_a_lock_is_taken_where_there_is_no_space_to_say_by_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Btrfs needs space to write over a file. The holder before is not named in its place."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    StoreLock(root_of(tmp_path), "/mnt/before").release()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        lock = StoreLock(root_of(tmp_path), "/mnt/now")
    assert current_holder(tmp_path) == (None, None)
    lock.release()
