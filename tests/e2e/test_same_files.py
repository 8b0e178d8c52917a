"""Files keep their inode numbers over runs of the mount, as tools that follow files need it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from tests.file_handles import handle_of, open_handle
from tests.mounts import mounted
from tests.users import is_real_root

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

ALONE = ("-o", "bind=127.0.0.1,nodht,nolan,noportmap,head_timeout=0")
STRANGERS = [crypto.key_pair(bytes([n]) * 32).public_key.hex() for n in (1, 2)]
FILES = ["journal", "stranger", STRANGERS[1], ".live", ".live/journal", ".live/stranger@7"]
FILES += [".protozorfs", ".protozorfs/status", ".protozorfs/feeds", ".protozorfs/feeds/journal/why"]


def numbers(mount_point: Path, renamed: bool = False) -> list[int]:
    files = [file.replace("journal", "log") if renamed else file for file in FILES]
    return [(mount_point / file).stat().st_ino for file in files]


def test_numbers_are_the_same_in_the_next_run(tmp_path: Path) -> None:
    with mounted(tmp_path, *ALONE) as mount:
        with (mount.path / "journal").open("ab") as journal:
            journal.write(b"one\n")
        (mount.path / "stranger").symlink_to(STRANGERS[0])
        before = numbers(mount.path)
        handle = handle_of(mount.path / "journal")
        assert (mount.store / "inodes").stat().st_mode & 0o777 == 0o600
    with mounted(tmp_path, *ALONE) as mount:
        assert numbers(mount.path)[::-1] == before[::-1]
        if is_real_root():
            with os.fdopen(open_handle(mount.path, handle), "rb") as file:  # of the run before
                assert file.read() == b"one\n"
        (mount.path / "journal").rename(mount.path / "log")
        assert numbers(mount.path, renamed=True) == before
        (mount.path / "stranger").unlink()
        (mount.path / "newcomer").symlink_to(STRANGERS[1])
        (mount.path / "stranger").symlink_to(STRANGERS[0])
        assert numbers(mount.path, renamed=True) == before
        (mount.store / "inodes").unlink()  # as in a store that version 0.1.0 has made
    (tmp_path / "m.store" / "inodes").mkdir()  # a file that cannot be read prevents nothing
    with mounted(tmp_path, *ALONE) as mount:
        assert numbers(mount.path, renamed=True) == before
        assert "inodes cannot be read" in mount.said
