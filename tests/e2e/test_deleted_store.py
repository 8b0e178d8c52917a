"""A store that is deleted while it is mounted: nothing is lost in silence."""

from __future__ import annotations

import errno
import json
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import free_port, mounted_at
from tests.errnos import expect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse


def append(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(b"second\n")


def test_a_store_that_is_deleted_while_mounted_says_so(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "owner", free_port()) as mount:
        journal = mount.path / "journal"
        journal.write_bytes(b"first\n")
        shutil.rmtree(mount.store)
        for appended in (journal, mount.path / "new"):
            expect(errno.ESTALE, partial(append, appended))
        expect(errno.ESTALE, lambda: journal.rename(mount.path / "other"))
        assert journal.read_bytes() == b"first\n"
        directory = mount.path / ".protozorfs"
        told = f"the store {mount.store} was deleted or replaced while it was in use"
        assert f"store       {told}" in (directory / "status").read_text()
        assert json.loads((directory / "status.json").read_text())["store_trouble"].startswith(told)
        assert told in (directory / "log").read_text()
    assert not mount.store.exists()
