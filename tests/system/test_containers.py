"""Mounting by a user, in a user namespace, and in a container with /dev/fuse and little else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.system.place import BIN, QUIET, ROOT

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

USE = f"""
set -e
mount.protozorfs $PWD/store $PWD/m -o {QUIET}
echo hello >> m/journal
cat m/journal
getfattr --only-values -n protozorfs.state m/journal; echo
test -s m/.protozorfs/status
if (echo no > m/journal) 2> refusal; then exit 1; fi
grep -q 'Operation not permitted' refusal
umount.protozorfs m
ls m
flock --nonblock store/lock true
"""
EXPECTED = "hello\nowned\n"
CHROOT = f"""
set -e
mkdir root && mount -t tmpfs tmpfs root
cd root
mkdir -p usr proc dev tmp .{ROOT} work/m
for name in bin sbin lib lib64; do [ ! -e /$name ] || ln -s usr/$name $name; done
mount --bind /usr usr
mkdir -p .{ROOT} .{sys.base_prefix}
mount --bind {ROOT} .{ROOT}
mount -t proc proc proc
touch dev/fuse
mount --bind /dev/fuse dev/fuse
ls dev
exec chroot . env PATH={BIN}:/usr/bin:/usr/sbin HOME=/work bash -c "cd /work$1"
"""


def test_a_user(place: Place) -> None:
    assert place.must(USE, as_nobody=True) == EXPECTED
    assert (place.directory / "store").stat().st_uid == 65534


def test_a_user_with_the_default_store(place: Place) -> None:
    script = f"mount.protozorfs m -o {QUIET}; findmnt -n -o SOURCE m; umount.protozorfs m"
    assert place.must(script, as_nobody=True) == "default\n"
    assert (place.directory / ".local/share/protozorfs/default/lock").exists()


@pytest.mark.parametrize("as_nobody", [True, False])
def test_a_user_namespace(place: Place, as_nobody: bool) -> None:
    in_namespace = "exec unshare --user --map-root-user --mount"
    code, _, reason = place.run(f"{in_namespace} true", as_nobody=as_nobody)
    if code != 0:  # Ubuntu's AppArmor leaves the namespaces of users without rights
        pytest.skip(f"no user namespaces here: {reason.strip()}")
    script = f"{in_namespace} bash -c '{_quoted(USE)}'"
    assert place.must(script, as_nobody=as_nobody) == EXPECTED


def test_a_container_with_dev_fuse_alone(place: Place) -> None:
    script = USE.replace("$PWD", "/work")
    said = place.must(f"set -- '\n{_quoted(script)}'\n{CHROOT}")
    assert said == f"fuse\n{EXPECTED}"


def test_a_container_without_rights(place: Place) -> None:
    """Root without capabilities cannot mount; it is told so in one sentence."""
    script = f"""
    exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \\
      mount.protozorfs $PWD/store $PWD/m -o {QUIET}
    """
    code, said, complaint = place.run(script)
    assert (code, said, complaint.count("\n")) == (32, "", 1)
    assert "Operation not permitted" in complaint


def _quoted(script: str) -> str:
    """For use within single quotes."""
    return script.replace("'", "'\\''")
