"""protozorfs.store.lock: looking at a lock without taking it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from protozorfs.store.lock import LockHolder, StoreLock, current_holder

if TYPE_CHECKING:
    from pathlib import Path


def test_who_holds_it_now(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert current_holder(path) is None
    assert not path.exists()
    held = StoreLock(path, "/mnt/feeds")
    assert current_holder(path) == LockHolder(os.getpid(), "/mnt/feeds")
    held.release()
    assert current_holder(path) is None


def test_looking_neither_takes_nor_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"somebody else's")
    assert current_holder(path) is None
    assert path.read_bytes() == b"somebody else's"
    held = StoreLock(path)
    assert current_holder(path) == LockHolder(os.getpid(), None)
    held.release()
    StoreLock(path).release()
