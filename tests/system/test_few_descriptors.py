"""Mounts that may have few file descriptors: more feeds are in use than can be open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sizes import long_or_short
from tests.system.place import QUIET

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

FEEDS_BELOW_256 = long_or_short(1000, 150)  # each has three files that are in use


@pytest.mark.parametrize(("limit", "feeds"), [("64", 60), ("256", FEEDS_BELOW_256)])
def test_more_feeds_than_descriptors(place: Place, limit: str, feeds: int) -> None:
    """Appends, syncs, reads, changes of the mount table, and the way out."""
    script = f"""
    ulimit -n {limit}
    mount.protozorfs store m -o {QUIET}
    for round in 1 2; do
      for each in {{1..{feeds}}}; do echo $round >> m/feed$each || exit 2; done
    done
    printf '%s\\n' m/feed* | xargs -P 8 -n 4 sync || exit 3
    mount -t tmpfs tmpfs n  # a look at the mount table
    cat m/feed* | sort | uniq -c
    ls m | wc -l
    umount n
    sleep 0.7
    echo 3 >> m/feed1
    cat m/.protozorfs/log
    umount.protozorfs m
    flock --nonblock store/lock true || exit 4
    mount.protozorfs store m -o {QUIET}
    cat m/feed* | wc -l
    umount.protozorfs m
    """
    code, said, complaint = place.run(script, seconds=long_or_short(600, 100))
    assert (code, complaint) == (0, "")
    ones, twos, count, *log, lines = said.splitlines()
    assert ones.split() == [str(feeds), "1"]
    assert twos.split() == [str(feeds), "2"]
    assert (count, lines) == (str(feeds), str(2 * feeds + 1))
    assert not [line for line in log if "WARNING" in line or "ERROR" in line]


def test_the_soft_limit_is_raised(place: Place) -> None:
    script = f"""
    ulimit -S -n 64
    mount.protozorfs store m -o {QUIET}
    pid=$(python -c 'import json; print(json.load(open("store/lock"))["pid"])')
    grep "open files" /proc/$pid/limits
    umount.protozorfs m
    """
    soft, hard = map(int, place.must(script).split()[3:5])
    assert soft == min(hard, 65536)
