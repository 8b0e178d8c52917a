"""The commands where a store or a mount is not one's own, or is nowhere to be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.place import QUIET
from tests.users import AS_NOBODY

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

MOUNT = f"mount.protozorfs store m -o {QUIET}"


def refused(place: Place, script: str, *, as_nobody: bool = False) -> tuple[int, str]:
    """The exit code of a script that prints nothing, and what it complains of."""
    code, said, complaint = place.run(script, as_nobody=as_nobody)
    assert said == ""
    return code, complaint.replace(f"{place.directory}/", "")


def test_somebody_elses_mount(place: Place) -> None:
    place.must(MOUNT, as_nobody=True)
    place.must("protozorfs new journal --store store", as_nobody=True)
    denied = "m: permission denied: only its own user may use this mount\n"
    assert refused(place, "protozorfs id m/journal") == (1, f"protozorfs: {denied}")
    theirs = "store cannot be trusted: it belongs to user nobody\n"
    for command in ("ls --store store", "new x --store store"):
        assert refused(place, f"protozorfs {command}") == (1, f"protozorfs: {theirs}")
    place.must("umount.protozorfs m")  # root may
    assert refused(place, MOUNT) == (32, f"mount.protozorfs: {theirs}")
    place.must(f"mount.protozorfs roots m -o {QUIET}")
    assert refused(place, "umount.protozorfs m", as_nobody=True) == (
        32,
        "umount.protozorfs: m: the mount of another user\n",
    )


def test_somebody_elses_store_and_no_home(place: Place) -> None:
    place.must("protozorfs new journal --store store")
    told = "no permission to use store as a store\n"
    said = refused(place, "protozorfs ls --store store", as_nobody=True)
    assert said == (1, f"protozorfs: {told}")
    said = refused(place, "HOME=/nonexistent protozorfs ls", as_nobody=True)
    default = "/nonexistent/.local/share/protozorfs/default"
    assert said == (1, f"protozorfs: no permission to use {default} as a store\n")
    assert "journal" in place.must("env -i $(command -v protozorfs) ls --store store")


def test_a_disk_that_is_read_only(place: Place) -> None:
    snapshot = (
        "find n/store -printf '%P %s %i %T@ %C@\\n' | sort; sha256sum n/store/*.* n/store/lock"
    )
    place.must(
        f"""
        chmod 755 n
        mount.protozorfs n/store m -o {QUIET}
        echo hello >> m/journal
        pkill -KILL -x mount.protozorf
        umount m
        mount --bind n n; mount -o remount,ro,bind n
        """
    )
    before = place.must(snapshot)
    told = (
        "cannot be written to, since its file system is read-only; to read it, mount it with -o ro"
    )
    assert refused(place, "protozorfs ls --store n/other") == (
        1,
        "protozorfs: n/other cannot be a store: Read-only file system\n",
    )
    assert refused(place, f"mount.protozorfs n/store m -o {QUIET}") == (
        1,
        f"mount.protozorfs: n/store {told}\n",
    )
    assert refused(place, "protozorfs new x --store n/store") == (
        1,
        f"protozorfs: n/store {told}\n",
    )
    place.must(f"mount.protozorfs n/store m -o {QUIET},ro")
    assert place.must("cat m/journal; grep store m/.protozorfs/status") == (
        "hello\nstore       read-only: nothing is written, fetched or served\n"
    )
    for command in ("echo x >> m/journal", "echo x >> m/new", "rm m/journal", "mv m/journal m/x"):
        assert "Read-only file system" in place.run(command)[2]
    assert "journal" in place.must("protozorfs ls --store n/store")
    assert place.must("umount.protozorfs m; flock -n n/store/lock echo free") == "free\n"
    assert place.must(snapshot) == before


def test_no_directory_that_can_be_written_but_the_store(place: Place) -> None:
    script = f"""
    umask 0; mkdir -p /run/x/m /run/x/n /run/x/s
    chmod 755 /run/x; chmod 1777 /run/x/s
    mount -t tmpfs -o ro tmpfs /tmp
    mount -t tmpfs -o ro tmpfs /var/tmp
    mount -o remount,bind,ro /
    cd /
    export TMPDIR=/nowhere
    mount.protozorfs /run/x/store /run/x/m -o {QUIET}
    echo hello >> /run/x/m/journal
    cat /run/x/m/journal
    umount.protozorfs /run/x/m
    chmod 755 /run/x/n
    {" ".join(AS_NOBODY)} mount.protozorfs /run/x/s/store /run/x/n -o {QUIET}
    """
    assert place.run(script) == (
        32,
        "hello\n",
        "mount.protozorfs: /run/x/n: user has no write access to mountpoint /run/x/n\n",
    )


@pytest.mark.parametrize("kilobytes", [4, 8, 12])
def test_a_disk_without_space(place: Place, kilobytes: int) -> None:
    """Whichever file it is that does not fit."""
    place.must(f"mount -t tmpfs -o size={kilobytes}k tmpfs n")
    code, complaint = refused(place, "protozorfs ls --store n/store")
    assert code == 1
    assert "no space left" in complaint.lower()
    assert complaint.count("\n") == 1
