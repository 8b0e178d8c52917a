"""Programs that look for holes find none in a feed of which nothing is here."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SIZE = 300_001
COPIERS = {
    "tar": ["bash", "-c", 'tar -cSf - -C "$1" "$2" | tar -xSOf - > "$3"'],
    "cp": ["bash", "-c", 'cp --sparse=auto "$1/$2" "$3"'],
    "cp-always": ["bash", "-c", 'cp --sparse=always "$1/$2" "$3"'],
    "rsync": ["bash", "-c", 'rsync -S "$1/$2" "$3"'],
}


@pytest.mark.parametrize("program", COPIERS)
@pytest.mark.parametrize("held", [0, 100])
def test_a_copy_with_holes_is_whole(
    shared: Staged, tmp_path: Path, program: str, held: int
) -> None:
    path, copy = shared.followed(SIZE, held), tmp_path / "copy"
    command = [*COPIERS[program], program, str(shared.path), path.name, str(copy)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        wait_until(lambda: shared.control("show", path.name)["waiting"] == 1)
        shared.control("hold", path.name, count=SIZE)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b"")
    assert copy.read_bytes() == pattern_bytes(SIZE)


def test_no_file_with_bytes_takes_no_blocks(shared: Staged) -> None:
    path, empty = shared.followed(SIZE, 0), shared.owned(b"")
    shown = (path, shared.path / ".live" / path.name, shared.path / ".protozorfs" / "status")
    for file in shown:
        assert file.stat().st_blocks > 0, file
    assert empty.stat().st_blocks == 0
    assert os.stat(path).st_blocks == 1, "du says what is here"


def test_the_status_is_archived_as_it_is(shared: Staged) -> None:
    command = 'tar -cSf - -C "$1/.protozorfs" version | tar -xSOf -'
    archived = subprocess.check_output(["bash", "-c", command, "bash", shared.path], timeout=20)
    assert archived == (shared.path / ".protozorfs" / "version").read_bytes()
