"""What a user has planted in a store does nothing to root, who mounts or unmounts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.place import QUIET

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

PLANT = """
mkdir -p home/store
protozorfs new journal --store home/store > id
for name in lock format.new node_key.new mount.log; do
  rm -f home/store/$name; ln -s $PWD/victims/$name home/store/
done
"""
LIES = """
mkdir -p home/store && chmod 700 home/store
echo '{"pid": 1, "mount_point": "'$PWD'/victims"}' > home/store/lock
setsid flock home/store/lock sleep 20 &> /dev/null &
until ! flock -n home/store/lock true; do sleep 0.01; done
"""


@pytest.mark.parametrize(
    "command",
    [
        f"mount.protozorfs home/store m -o {QUIET}",
        f"mount -t protozorfs $PWD/home/store $PWD/m -o {QUIET}",
        "protozorfs ls --store home/store",
    ],
    ids=["mount.protozorfs", "mount", "ls"],
)
def test_root_follows_no_links_in_the_store_of_a_user(place: Place, command: str) -> None:
    place.must("mkdir -m 755 victims")
    place.must(PLANT, as_nobody=True)
    code, said, complaint = place.run(command)
    assert code != 0
    assert said == ""
    assert complaint.count("\n") == 1
    assert "home cannot be trusted: it belongs to user nobody" in complaint
    assert place.must("ls victims") == ""


def test_root_writes_nothing_where_a_user_says_that_a_store_is_mounted(place: Place) -> None:
    place.must("mkdir -m 755 victims")
    place.must(LIES, as_nobody=True)
    code, _, complaint = place.run("protozorfs new planted --store home/store")
    assert (code, "cannot be trusted" in complaint) == (1, True)
    assert place.must("ls victims") == ""


@pytest.mark.parametrize("lock", ["mkfifo lock", "ln -s /dev/zero lock"], ids=["pipe", "endless"])
def test_unmounting_is_not_held_up_by_what_is_in_the_store(place: Place, lock: str) -> None:
    place.must(f"mount.protozorfs home/store m -o {QUIET}; rm home/store/lock")
    place.must(f"cd home/store; {lock}")
    place.must("umount.protozorfs m")
