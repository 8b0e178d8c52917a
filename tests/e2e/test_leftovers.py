"""What tools leave behind that save through a temporary file can be removed for a minute."""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    follow,
    free_port,
    id_of,
    mounted_at,
    owner_and_reader,
    shell,
    wait_whole,
)
from tests.errnos import expect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

PATCH = """--- f
+++ f
@@ -1 +1,2 @@
 hello
+world
"""


def test_leftovers_are_removed_with_their_keys(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "m", free_port()) as mount:
        shell(f"echo hello > {mount.path}/f; truncate -s 1M {tmp_path}/holes")
        patch: list[str | Path] = [
            "patch",
            "-s",
            "-d",
            mount.path,
            "f",
        ]  # which removes what it cannot rename
        assert subprocess.run(patch, input=PATCH.encode(), capture_output=True).returncode
        copy: list[str | Path] = ["cp", tmp_path / "holes", mount.path / "copy"]
        assert subprocess.run(copy, capture_output=True).returncode
        assert {path.name for path in mount.path.iterdir()} == {"f", "copy"}
        shell(f"echo more >> {mount.path}/copy; rm {mount.path}/copy")
        assert [path.name for path in mount.path.iterdir()] == ["f"]
        assert (mount.path / "f").read_text() == "hello\n"
    assert len(list((tmp_path / "m.store").rglob("secret"))) == 1


def test_what_somebody_follows_is_not_removed(tmp_path: Path) -> None:
    with owner_and_reader(tmp_path) as (owner, reader):
        journal = owner.path / "journal"
        shell(f"echo hello >> {journal}")
        wait_whole(follow(id_of(journal), reader.path / "paul"), 6)
        expect(errno.EPERM, journal.unlink)
