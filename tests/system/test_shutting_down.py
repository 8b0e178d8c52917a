"""A signal ends the daemon within two seconds, whatever it is doing: docs/manual.md."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.half_held import half_held
from tests.e2e.stage import WAIT_SECONDS, at, free_port, mounted_at, options, running, wait_until
from tests.mounts import installed_command, is_listed, mounted
from tests.node_peer import LOOPBACK
from tests.sizes import long_or_short
from tests.system.place import BIN, QUIET, wait_until_free
from tests.system.test_dead_mounts import is_stuck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mounts import Mount
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

END_SECONDS = 2.0  # docs/manual.md
READERS = 100
DUMP_SECONDS = 0.3
STARTS = long_or_short(100, 12)
START_SECONDS = 1.0  # about what a start takes, on a machine that is not busy
SOMEBODYS_ID = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1
SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: signal.Signals(number).name
)


def expect_end(mount: Mount, number: int) -> None:
    """Sends a signal: the daemon ends in time, in order, and nothing is left of the mount."""
    assert mount.stop(number) < END_SECONDS
    assert mount.process.returncode == 0, mount.said
    assert not is_listed(mount.path)


@SIGNALS
def test_while_it_starts(tmp_path: Path, number: int) -> None:
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    for step in range(STARTS):
        command = [*installed_command(), str(store), str(path), "--foreground", "-o", QUIET]
        with subprocess.Popen(
            ["env", "--default-signal", *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as daemon:
            time.sleep(START_SECONDS * step / STARTS)
            daemon.send_signal(number)
            start = time.monotonic()
            try:
                daemon.communicate(timeout=WAIT_SECONDS)
                assert time.monotonic() - start < END_SECONDS, step
            finally:
                daemon.kill()
        assert not is_listed(path), step
    with mounted_at(tmp_path, "again", free_port()) as mount:  # nothing is in its way
        assert os.listdir(mount.path) == []


@SIGNALS
def test_while_the_command_waits_for_its_daemon(tmp_path: Path, number: int) -> None:
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    for step in range(STARTS // 4):
        command = [*installed_command(), str(store), str(path), "-o", QUIET]
        with subprocess.Popen(
            ["env", "--default-signal", *command], stderr=subprocess.PIPE, process_group=0
        ) as daemon:
            time.sleep(START_SECONDS * (step + 1) / (STARTS // 4))
            if daemon.poll() is None:  # as a terminal does: to the command and its daemon
                os.killpg(daemon.pid, number)
            daemon.communicate(timeout=WAIT_SECONDS)
        # A signal that comes when it has answered may end the command, which has nothing left to
        # do, or come too late even for that; before, it ends both.
        if daemon.returncode != 128 + number and is_listed(path):
            assert os.listdir(path) == []
            subprocess.run([BIN / "umount.protozorfs", path], check=True, timeout=WAIT_SECONDS)
        if store.exists():
            wait_until_free(store, END_SECONDS)
        assert not is_listed(path)


def waiting_reads(mount: Mount) -> int:
    """How many reads wait in the daemon, as its own dump of all tasks says.

    That a reader sleeps for the mount is not enough: it may still be opening its file.
    """
    mount.process.send_signal(signal.SIGUSR1)
    time.sleep(DUMP_SECONDS)  # a dump that is read too early counts too few
    dump = mount.said.rpartition(" places\n")[2]
    groups = re.findall(r" (\d+) x pyfuse\n((?:  .*\n)*)", dump)
    return sum(int(count) for count, stack in groups if "Waits.run" in stack)


@contextmanager
def silent_peer() -> Iterator[int]:
    """The port of a peer that takes connections and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def silent_dht() -> Iterator[int]:
    """The port of a DHT node that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.bind((LOOPBACK, 0))
        yield node.getsockname()[1]


@SIGNALS
def test_while_an_open_waits_for_a_head(tmp_path: Path, number: int) -> None:
    with (
        silent_peer() as port,
        mounted_at(tmp_path, "m", free_port(), at(port)) as mount,
        running("cat", mount.path / SOMEBODYS_ID) as reader,
    ):
        wait_until(lambda: is_stuck(reader))
        expect_end(mount, number)
        assert reader.wait(END_SECONDS) != 0


@SIGNALS
def test_while_the_dht_is_silent(tmp_path: Path, number: int) -> None:
    with silent_dht() as port:
        settings = options(free_port(), more=[f"bootstrap={LOOPBACK}:{port}"])
        settings = settings.replace("nodht,", "")
        with mounted(tmp_path, "-o", settings) as mount:
            with (mount.path / "journal").open("ab") as journal:
                journal.write(b"hello\n")
            with running("cat", mount.path / SOMEBODYS_ID) as reader:
                wait_until(lambda: is_stuck(reader))
                expect_end(mount, number)
                assert reader.wait(END_SECONDS) != 0


@SIGNALS
def test_while_a_hundred_reads_wait(tmp_path: Path, number: int) -> None:
    with half_held(tmp_path) as staged, ExitStack() as stack:
        live = staged.feed.parent / ".live" / staged.feed.name
        files = [staged.feed] * (READERS // 2) + [live] * (READERS // 2)
        readers = [stack.enter_context(running("cat", file)) for file in files]
        wait_until(lambda: all(is_stuck(reader) for reader in readers))
        wait_until(lambda: waiting_reads(staged.mount) == READERS)
        expect_end(staged.mount, number)
        for reader in readers:
            assert reader.wait(END_SECONDS) != 0


def test_unmounting_by_force_ends_daemon_and_readers(tmp_path: Path) -> None:
    with half_held(tmp_path) as staged, running("cat", staged.feed) as reader:
        wait_until(lambda: is_stuck(reader))
        start = time.monotonic()
        # umount(2) itself aborts the connection; the mount stays, as its file is open.
        subprocess.run(["umount", "-i", "-f", staged.mount.path], capture_output=True, timeout=10)
        assert reader.wait(END_SECONDS) != 0
        assert staged.mount.process.wait(WAIT_SECONDS) == 0
        assert time.monotonic() - start < END_SECONDS
        assert not is_listed(staged.mount.path)


@SIGNALS
def test_while_the_disk_is_full(place: Place, number: int) -> None:
    word = signal.Signals(number).name.removeprefix("SIG")
    script = f"""
    mkdir disk
    mount -t tmpfs -o size=48M tmpfs disk
    mount -t protozorfs $PWD/disk/store $PWD/m -o {QUIET}
    pid=$(python -c 'import json; print(json.load(open("disk/store/lock"))["pid"])')
    while echo hello >> m/small; do head -c 1M /dev/urandom; done 2> errors >> m/large
    grep -q 'No space left' errors || exit 3
    size=$(stat -c %s m/large)
    until [ -e enough ]; do head -c 100000 /dev/urandom >> m/large; done 2> errors &
    appender=$!
    sleep 0.2
    start=$(date +%s%N)
    kill -{word} $pid
    flock --timeout 10 disk/store/lock true || exit 4
    echo $(( ($(date +%s%N) - start) / 1000000 ))
    touch enough; wait $appender
    findmnt m && exit 5
    rm -f m/*  # what the appender wrote where the mount was
    mount -t protozorfs $PWD/disk/store $PWD/m -o {QUIET}
    [ $(stat -c %s m/large) -ge $size ] || exit 6
    sha256sum < m/large > sum && head -n 1 m/small
    umount m
    """
    code, said, complaint = place.run(script, seconds=60)
    assert (code, complaint) == (0, ""), (code, complaint)
    milliseconds, line = said.splitlines()
    assert int(milliseconds) < END_SECONDS * 1000
    assert line == "hello"
