"""Stores on real file systems that get other numbers, other paths, or an older state.

Each script runs in a mount namespace of its own. What it says line by line is what happened: a feed
was appended to while nobody could be asked, or that was refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sizes import long_or_short

ROOT = Path(__file__).parents[2]
SCRIPT_SECONDS = 300.0  # an upper bound for a slow machine, not a delay
SIZES = {"ext4": "16M", "xfs": "300M", "btrfs": "120M"}  # the least that they are made in
KINDS = long_or_short(list(SIZES), ["ext4"])
# What all scripts share. A device is attached behind another one, so that it gets another number.
SHARED = r"""
set -eu
append() { "$PYTHON" -m tests.system.appender "$1" "${2:-line}"; }
attached=()
attach() { device=$(losetup --find --show "$1"); attached+=("$device"); }
detach() { losetup --detach "$device"; }
clean_up() {
  cd /
  umount --recursive --quiet "$DIR"/mnt* || true
  for one in "${attached[@]}"; do losetup --detach "$one" 2> /dev/null || true; done
}
trap clean_up EXIT
mkdir "$DIR/mnt" "$DIR/mnt2"
image() { truncate --size "$2" "$DIR/$1"; }
same_key() { cmp "$DIR/node_key" "$1/node_key" && echo "the same node"; }
cd "$ROOT"
"""


def run(directory: Path, script: str) -> list[str]:
    """The lines that a script prints, which has to succeed."""
    command = ["unshare", "--mount", "--fork", "--kill-child", "bash", "-c", SHARED + script]
    variables = {"DIR": str(directory), "ROOT": str(ROOT), "PYTHON": sys.executable}
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def needs(*programs: str) -> None:
    """Skips the test where a program is missing."""
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed")


def needs_loop_devices() -> None:
    """Skips the test where none can be had."""
    needs("losetup")
    done = subprocess.run(["losetup", "--find"], capture_output=True, text=True)
    if done.returncode or not os.access(done.stdout.strip(), os.W_OK):
        pytest.skip("there are no loop devices here")


@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_the_device_is_no_other_place(tmp_path: Path, kind: str) -> None:
    needs(f"mkfs.{kind}")
    needs_loop_devices()
    said = run(
        tmp_path,
        f"image disk {SIZES[kind]}; image other 1M; mkfs.{kind} -q $DIR/disk > $DIR/made"
        r"""
        attach $DIR/disk; mount $device $DIR/mnt
        append $DIR/mnt/store; cp $DIR/mnt/store/node_key $DIR/node_key
        number=$(stat -c %d $DIR/mnt/store)
        umount $DIR/mnt; detach
        attach $DIR/other; mount -t tmpfs tmpfs $DIR/mnt2
        attach $DIR/disk; mount $device $DIR/mnt
        [ $number != $(stat -c %d $DIR/mnt/store) ]
        append $DIR/mnt/store; same_key $DIR/mnt/store
        mkdir $DIR/mnt/below $DIR/mnt3; mv $DIR/mnt/store $DIR/mnt/below/moved
        mount --bind $DIR/mnt/below $DIR/mnt3
        append $DIR/mnt3/moved; same_key $DIR/mnt3/moved
        cp -a $DIR/mnt3/moved $DIR/mnt/copy
        append $DIR/mnt/copy
        append $DIR/mnt/below/moved; same_key $DIR/mnt/below/moved
        cmp --quiet $DIR/node_key $DIR/mnt/copy/node_key || echo "another node"
        """,
    )
    assert said[:5] == ["appended", *2 * ["appended", "the same node"]]
    assert said[5].startswith("refused: its file 'secret' is another one than before")
    assert said[6:] == ["appended", "the same node", "another node"]


@pytest.mark.parametrize("upper", long_or_short(["same", "another"], ["same"]))
def test_a_container_that_is_started_anew_finds_its_store_in_place(
    tmp_path: Path, upper: str
) -> None:
    """Its root is an overlay, which gets another number with each mount.

    `upper`: whether what is written is on the file system of what is below it.
    """
    said = run(
        tmp_path,
        f"is_other={int(upper == 'another')}"
        r"""
        mount -t tmpfs tmpfs $DIR/mnt2
        mkdir $DIR/mnt2/lower
        [ $is_other = 0 ] || mount -t tmpfs tmpfs $DIR/mnt2/lower
        mkdir -p $DIR/mnt2/lower/image $DIR/mnt2/upper $DIR/mnt2/work
        layers=lowerdir=$DIR/mnt2/lower,upperdir=$DIR/mnt2/upper,workdir=$DIR/mnt2/work
        start() { mount -t overlay overlay -o $layers $DIR/mnt; }
        start; append $DIR/mnt/image/store; cp $DIR/mnt/image/store/node_key $DIR/node_key
        number=$(stat -c %d $DIR/mnt/image)
        umount $DIR/mnt; mkdir $DIR/mnt3 $DIR/mnt4
        mount -t tmpfs tmpfs $DIR/mnt3; mount -t tmpfs tmpfs $DIR/mnt4
        start; [ $number != $(stat -c %d $DIR/mnt/image) ]
        append $DIR/mnt/image/store; same_key $DIR/mnt/image/store
        cp -a $DIR/mnt/image/store $DIR/mnt/copy
        append $DIR/mnt/copy
        append $DIR/mnt/image/store; same_key $DIR/mnt/image/store
        """,
    )
    assert said[:3] == ["appended", "appended", "the same node"]
    assert said[3].startswith("refused: its file 'secret' is another one than before")
    assert said[4:] == ["appended", "the same node"]


def test_a_snapshot_of_btrfs_is_another_place_and_its_original_is_not(tmp_path: Path) -> None:
    needs("mkfs.btrfs", "btrfs")
    needs_loop_devices()
    said = run(
        tmp_path,
        r"""
        image disk 120M; mkfs.btrfs -q $DIR/disk > $DIR/made
        attach $DIR/disk; mount $device $DIR/mnt; cd $DIR/mnt
        btrfs -q subvolume create home; cd $ROOT
        append $DIR/mnt/home/store; cp $DIR/mnt/home/store/node_key $DIR/node_key
        cd $DIR/mnt; btrfs -q subvolume snapshot home before; cd $ROOT
        append $DIR/mnt/home/store; same_key $DIR/mnt/home/store
        umount $DIR/mnt; mount -o subvol=home $device $DIR/mnt
        append $DIR/mnt/store; same_key $DIR/mnt/store
        umount $DIR/mnt; mount $device $DIR/mnt
        mv $DIR/mnt/home $DIR/mnt/old; mv $DIR/mnt/before $DIR/mnt/home
        append $DIR/mnt/home/store
        """,
    )
    assert said[:5] == ["appended", *2 * ["appended", "the same node"]]
    assert said[5].startswith("refused: the store is on another volume than before")
