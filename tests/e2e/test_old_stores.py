"""What stores of version 0.1.0 may hold, and this version would not make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from protozorfs import crypto
from protozorfs.store.database import NameRow
from protozorfs.store.layout import Store
from protozorfs.types import FeedId
from tests.mounts import mounted

pytestmark = pytest.mark.fuse

ALONE = ("-o", "bind=127.0.0.1,nodht,nolan,noportmap")
ID, OTHER, THIRD = (FeedId(crypto.key_pair(bytes([n]) * 32).public_key) for n in (1, 2, 3))
COMMAND = str(Path(sys.executable).with_name("protozorfs"))


def test_feeds_whose_names_no_mount_can_show_are_reached_by_their_ids(tmp_path: Path) -> None:
    with Store(tmp_path / "m.store") as store:
        for name, feed_id in ((b".live", ID), (THIRD.hex().encode(), OTHER)):
            store.names.add(NameRow(name, feed_id, False, 0, 0))
    with mounted(tmp_path, *ALONE) as mount:
        assert sorted(os.listdir(mount.path)) == sorted([ID.hex(), OTHER.hex()])
        assert (mount.path / ".live").is_dir()
        assert os.getxattr(mount.path / OTHER.hex(), "protozorfs.id").decode() == OTHER.hex()
        assert os.getxattr(mount.path / THIRD.hex(), "protozorfs.id").decode() == THIRD.hex()
        subprocess.run(["mv", ID.hex(), "paul"], cwd=mount.path, check=True)
        remove = [COMMAND, "rm", OTHER.hex(), "--store", str(mount.store)]
        subprocess.run(remove, check=True)
        assert os.listdir(mount.path) == ["paul"]
    with Store(tmp_path / "m.store") as store:
        assert [(row.name, row.feed_id) for row in store.names.all()] == [(b"paul", ID)]
