"""Lines of /etc/fstab: a user's `mount DIR`, and what systemd makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.place import QUIET

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")
COME_AND_GO = """
set -e
mount m
echo hello >> m/journal
cat m/journal
findmnt -n -o OPTIONS m
stat -c %u m
umount m
flock --nonblock store/lock true
"""


def add_line(place: Place, words: str) -> None:
    """Has one line in the fstab."""
    directory = place.directory
    place.fstab.write_text(f"{directory}/store {directory}/m protozorfs {words},{QUIET} 0 0\n")


def test_a_user_mounts_and_unmounts_by_directory(place: Place) -> None:
    add_line(place, "noauto,user")
    said = place.must(COME_AND_GO, as_nobody=True).splitlines()
    assert said[0] == "hello"
    assert {"nosuid", "nodev", "noexec", "user_id=65534"} <= set(said[1].split(","))
    assert said[2] == "65534"
    assert (place.directory / "store").stat().st_uid == 65534


def test_one_user_cannot_unmount_the_mount_of_another(place: Place) -> None:
    add_line(place, "noauto,user")
    place.must("mount m && echo hello >> m/journal", as_nobody=True)
    other = "setpriv --reuid=65533 --regid=65533 --clear-groups"
    for command in ("umount m", "umount.protozorfs m", "umount.protozorfs -f m"):
        assert place.run(f"{other} {command}")[0] != 0
    assert place.must("cat m/journal; umount m", as_nobody=True) == "hello\n"


def test_what_a_user_is_told(place: Place) -> None:
    add_line(place, "noauto,user,nosuch")
    code, _, complaint = place.run("mount m", as_nobody=True)
    assert (code, complaint) == (1, "mount.protozorfs: unknown option nosuch; see --help\n")
    add_line(place, "noauto,user")
    place.must("mount m", as_nobody=True)
    code, _, complaint = place.run("mount m", as_nobody=True)
    assert (code, "already mounted" in complaint) == (32, True)


def test_root_mounts_all_lines(place: Place) -> None:
    add_line(place, "_netdev,nofail,x-systemd.automount")
    script = "mount -a; findmnt -n -o OPTIONS m; mount -a; findmnt -n m; umount m"
    said = place.must(script).splitlines()
    assert len(said) == 2  # the second time it was mounted already
    assert "rw" in said[0].split(",")


@pytest.mark.skipif(not GENERATOR.exists(), reason="systemd is not installed")
def test_what_systemd_makes_of_an_automount_line(place: Place) -> None:
    add_line(place, "noauto,_netdev,x-systemd.automount,x-systemd.idle-timeout=60")
    place.must(f"mkdir units && {GENERATOR} units units units")
    units = place.directory / "units"
    (mount,) = units.glob("*.mount")
    (automount,) = units.glob("*.automount")
    text = mount.read_text()
    assert f"What={place.directory}/store\n" in text
    assert "Type=protozorfs\n" in text
    assert "_netdev" in text
    assert f"Where={place.directory}/m\n" in automount.read_text()
    assert shutil.which("systemd-analyze") is not None
    assert place.must(f"systemd-analyze --man=no verify '{automount}' '{mount}'") == ""
