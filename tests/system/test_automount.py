"""A mount that the kernel's automounter asks for, as `x-systemd.automount` makes it do."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.place import COMMAND_SECONDS, QUIET, ROOT
from tests.users import is_real_root

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

HAS_AUTOFS = "autofs" in Path("/proc/filesystems").read_text()


@pytest.mark.skipif(not HAS_AUTOFS, reason="this kernel has no autofs")
@pytest.mark.skipif(not is_real_root(), reason="only the real root can ask the automounter")
def test_who_looks_into_the_directory_finds_it_mounted(place: Place) -> None:
    place.must(f"mount -t protozorfs $PWD/store $PWD/n -o {QUIET}; echo hello >> n/journal")
    place.must("umount n")
    look_into(place, "m", "mount -t protozorfs", expected="hello\n")
    assert place.must("echo more >> m/journal; setsid --wait cat m/journal") == "hello\nmore\n"
    place.must("umount m")
    look_into(place, "n", "mount.protozorfs", expected="hello\nmore\n")


def look_into(place: Place, point: str, command: str, *, expected: str) -> None:
    mount = f"$PWD/{point} {command} $PWD/store $PWD/{point} -o {QUIET}"
    script = f"PYTHONPATH={ROOT} exec python -m tests.system.automounter {mount}"
    with subprocess.Popen(
        place.command(script), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as automounter:
        assert automounter.stdout is not None
        assert automounter.stdout.readline() == "waiting\n"
        try:
            assert place.must(f"setsid --wait cat {point}/journal") == expected
            said, complaint = automounter.communicate(timeout=COMMAND_SECONDS)
        finally:
            automounter.kill()
    assert (said, complaint) == ("mounted\n", "")
