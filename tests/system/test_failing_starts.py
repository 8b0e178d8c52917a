"""A start that fails leaves nothing: no store that it has made, and no mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.place import QUIET

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

SOMEBODYS_ID = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1
TAKE_PORT = """
python -c '
import socket, time
listener = socket.create_server(("127.0.0.1", 4555))
open("taken", "w")
time.sleep(30)
' &> out &
until [ -e taken ]; do sleep 0.02; done
"""
# In the middle of the start, with the store just made; `wait` says by which signal it ended.
INTERRUPTED = f"""
setsid env --default-signal mount.protozorfs new/store m --foreground -o {QUIET} &
until [ -e new/store/spare ]; do :; done
kill -INT $!
wait $!
"""
NO_SPACE = """
mount -t tmpfs -o size=12k tmpfs n
mount.protozorfs n/new/store m
code=$?
ls n
exit $code
"""


@pytest.mark.parametrize(
    ("script", "code", "sentence"),
    [
        ("touch n/x; mount.protozorfs new/store n", 32, "not empty"),
        ("mount.protozorfs new/store none", 32, "No such file or directory"),
        (
            "umount -q {/,}dev/fuse; rm /dev/fuse; mount.protozorfs new/store m",
            32,
            "this system has no FUSE",
        ),
        ("mount.protozorfs new/store m -o nosuch", 1, "unknown option nosuch"),
        ("mount.protozorfs new/store m --debug=nosuch", 1, "there is no module nosuch"),
        (f"{TAKE_PORT} mount.protozorfs new/store m -o {QUIET},port=4555", 1, "cannot listen"),
        ("mount.protozorfs new/store m -o nodht,listen=192.0.2.1", 1, "cannot listen"),
        (NO_SPACE, 32, "o space left"),
        (INTERRUPTED, 130, ""),
        ("protozorfs rm none --store new/store", 1, "no feed of that name"),
        (
            f"protozorfs read {SOMEBODYS_ID} --no-follow --store new/store -o {QUIET}",
            1,
            "nobody who has this feed was found",
        ),
    ],
    ids=[
        *("not-empty", "missing", "no-fuse", "option", "debug", "port", "address", "space"),
        *("interrupted", "rm", "read"),
    ],
)
def test_it_leaves_nothing(place: Place, script: str, code: int, sentence: str) -> None:
    got, said, complaint = place.run(script)
    assert (got, said) == (code, ""), complaint
    assert sentence in complaint
    assert complaint.count("\n") <= 1
    assert not (place.directory / "new").exists()
    mounts = place.must("findmnt --raw -n -t fuse.protozorfs -o TARGET || true").splitlines()
    assert not [mount for mount in mounts if mount.startswith(str(place.directory))]


def test_what_fusermount3_refuses_leaves_no_store(place: Place) -> None:
    place.must("chmod 755 n; mkdir -m 1777 s")
    code, said, complaint = place.run(f"mount.protozorfs s/new/store n -o {QUIET}", as_nobody=True)
    assert (code, said) == (32, "")
    assert "no write access to mountpoint" in complaint
    assert place.must("ls s") == ""


def test_a_store_that_was_there_stays_as_it_is(place: Place) -> None:
    place.must("protozorfs new journal --store store")
    sums = "cd store; find . -type f ! -name '*.db*' -exec md5sum {} + | sort"
    before = place.must(sums)
    code, _, complaint = place.run(f"{TAKE_PORT} mount.protozorfs store m -o {QUIET},port=4555")
    assert (code, "cannot listen" in complaint) == (1, True)
    changed = set(before.splitlines()) ^ set(place.must(sums).splitlines())
    assert {line.split()[1] for line in changed} <= {"./lock"}  # says who had it last
    assert "journal" in place.must("protozorfs ls --store store")
