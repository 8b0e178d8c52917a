"""Kills, partitions, full disks and clocks, for as long as is asked for: see scripts/soak.

The owner appends numbered lines with checksums; each reader checks every line that it is shown, in
order, over all lives of its daemon. Stores are on small file systems in memory, which survive
kill -9 and can be full. Clocks: each life of a daemon has another monotonic clock (a time
namespace), hours away from the one before; and where libfaketime is installed another wall clock,
days away. A clock that jumps while a daemon runs is not covered.

The last reader is never ended, so that its memory and descriptors show what grows; in a run
without ends none is. The first lines are appended without a pause: they fill the caches whose size
follows the data, and the allocator has what the largest batches take, some of which come once in
tens of thousands of lines. From then on memory must not grow any more, whatever comes.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from protozorfs import descriptors
from scripts.growth import growth_of
from tests.mounts import installed_command, start_mount, unmount
from tests.namespaces import network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.mounts import Mount
    from tests.namespaces import Host

MINUTES, SEED = 2.0, 8
NAMES = ("owner", "relay1", "relay2", *(f"reader{number}" for number in range(1, 6)))
OWNER, RELAYS, READERS = 0, (1, 2), range(3, 8)
LEFT_ALONE = 7
LINKS = [(OWNER, relay) for relay in RELAYS] + [(relay, r) for relay in RELAYS for r in READERS]
PORT = 4711
DISK_BYTES = 128 << 20
FEED = "journal"
LINE_SECONDS = 0.05  # between two appends, once all is warm
MAX_TEXT_BYTES = 600
READ_BYTES = 256 * 1024
CALM_SECONDS = (1.0, 4.0)  # between two faults
FAULT_SECONDS = (0.5, 4.0)  # that a fault lasts
CATCH_UP_SECONDS = 120.0  # at the end, without faults
MORE_SECONDS = 900.0  # that making, catching up and ending may take, on a busy machine
SAMPLE_SECONDS = 2.0
WARM_SECONDS = 20.0  # of a life that do not count for its memory
WARM_LINES = 50_000  # without a pause, before growth counts
MAX_GROWTH = 1.0  # MiB, or descriptors, an hour: more for certain is a leak
MAX_FILES = descriptors.RESERVED + descriptors.MAX_FEED_FILES
STOP_SECONDS = 20.0
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def line(number: int) -> bytes:
    """A line of the feed: number, checksum, text of a size of its own."""
    chance = random.Random(number)
    text = chance.randbytes(chance.randint(1, MAX_TEXT_BYTES) // 2).hex().encode()
    body = b"%d %s" % (number, text)
    return b"%s %08x\n" % (body, zlib.crc32(body))


@dataclass
class Node:
    """One store, and the lives of its daemon."""

    name: str
    directory: Path
    host: Host
    peers: list[str]
    chance: random.Random
    mount: Mount | None = None
    lives: int = 0
    born: float = 0.0
    samples: list[tuple[float, float, float]] = field(default_factory=list)  # time, MiB, files

    @property
    def store(self) -> Path:
        return self.directory / f"{self.name}.store"

    @property
    def feed(self) -> Path:
        return self.directory / self.name / FEED

    @property
    def pid(self) -> int:
        """The daemon's, in the namespaces that it was started in."""
        return int(json.loads((self.store / "lock").read_bytes())["pid"])

    def start(self) -> None:
        """Begins a life, with clocks of its own."""
        settings = ["nodht", "nolan", "noportmap", f"port={PORT}", "read_timeout=2"]
        settings += [f"peer={peer}:{PORT}" for peer in self.peers]
        offset = str(self.chance.randint(0, 10**6))
        clocks = ["unshare", "--time", "--monotonic", offset, "--boottime", offset, "--fork"]
        if FAKETIME is not None:
            clocks += ["env", f"LD_PRELOAD={FAKETIME}", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
            clocks += [f"FAKETIME={self.chance.randint(-90, 90):+d}d"]
        command = self.host.command(*clocks, *installed_command())
        self.mount = start_mount(
            self.directory, "-o", ",".join(settings), command=command, name=self.name
        )
        self.lives += 1
        self.born = time.monotonic()

    def end(self, number: int) -> None:
        """Ends this life by a signal."""
        mount, self.mount = self.mount, None
        assert mount is not None
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        try:
            mount.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end by signal {number}") from None

    def sample(self, now: float) -> None:
        """Notes what the daemon takes."""
        if self.mount is None or time.monotonic() < self.born + WARM_SECONDS:
            return
        with suppress(OSError, ValueError, KeyError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            rss = int(status.partition("VmRSS:")[2].split()[0]) / 1024
            files = len(os.listdir(f"/proc/{self.pid}/fd"))
            self.samples.append((now, rss, files))


class Reader:
    """Checks what one mount shows, line by line."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.lines = 0
        self.lost = self.torn = self.wrong = 0
        self._offset = 0
        self._rest = b""

    def restart(self) -> None:
        """Reads everything again."""
        self.lines, self._offset, self._rest = 0, 0, b""

    def read_some(self) -> None:
        """Takes what is there; errors of a mount that is gone or cut off are no faults."""
        try:
            with open(self.node.feed, "rb", buffering=0) as file:
                while data := os.pread(file.fileno(), READ_BYTES, self._offset):
                    self._offset += len(data)
                    self.take(data)
        except OSError as error:
            if error.errno == errno.EIO:
                raise AssertionError(f"{self.node.name}: a read fails with EIO") from error

    def take(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for text in whole:
            if text + b"\n" == line(self.lines):
                self.lines += 1
                continue
            number = text.partition(b" ")[0]
            if number.isdigit() and text + b"\n" == line(int(number)):
                self.lost += max(int(number) - self.lines, 1)
                self.lines = int(number) + 1
            else:
                self.wrong += 1

    def finish(self, appended: int) -> None:
        """Counts what is missing at the end."""
        self.lost += max(appended - self.lines, 0)
        self.torn += bool(self._rest)


class Writer:
    """Appends lines; after an error it looks which was the last that arrived."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.appended = 0
        self.refused = 0
        self.lost = 0

    def write_some(self) -> None:
        """Appends until something fails, or the fault ends; returns then."""
        try:
            if not self._node.feed.exists() and self.appended:
                return
            self.look()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = os.open(self._node.feed, flags, 0o644)
        except OSError:
            return
        try:
            while not STOPPED.is_set():
                data = line(self.appended)
                if os.write(descriptor, data) != len(data):
                    raise AssertionError("a short write")
                self.appended += 1
                if self.appended > WARM_LINES:
                    STOPPED.wait(LINE_SECONDS)
        except OSError as error:
            self.refused += error.errno == errno.ENOSPC
        finally:
            with suppress(OSError):
                os.close(descriptor)

    def look(self) -> None:
        """One line may have arrived whose write did not return; none may be gone."""
        if not self._node.feed.exists():
            return
        size = self._node.feed.stat().st_size
        with open(self._node.feed, "rb", buffering=0) as file:
            tail = os.pread(file.fileno(), 4096, max(0, size - 4096))
        last = tail.rstrip(b"\n").rpartition(b"\n")[2].partition(b" ")[0]
        found = int(last) + 1 if last else 0
        if found < self.appended:
            self.lost += self.appended - found
        self.appended = found


STOPPED = threading.Event()
QUIET = threading.Event()  # no more faults


def repeat(step: Callable[[], None], failures: list[BaseException]) -> None:
    """Takes steps until the end; the first failure ends everything."""
    try:
        while not STOPPED.is_set():
            step()
            STOPPED.wait(0.05)
    except BaseException as error:
        failures.append(error)
        STOPPED.set()


@contextmanager
def full(node: Node) -> Iterator[None]:
    """Its disk has no byte left, for a while."""
    filler = node.store / "filler"
    try:
        with suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with suppress(OSError), open(filler, "ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def cut(nodes: list[Node], chance: random.Random) -> Iterator[None]:
    """A few links are down."""
    links = chance.sample(LINKS, chance.randint(1, len(LINKS) // 2))
    for state in ("down", "up"):
        for left, right in links:
            nodes[left].host.run("ip", "link", "set", f"to{right}", state)
        if state == "down":
            yield


@contextmanager
def dead(node: Node, number: int) -> Iterator[None]:
    """Its daemon has ended by a signal."""
    node.end(number)
    yield
    node.start()


ENDS = ("kill", "stop")
FAULTS = ("cut", "full")


class Faults:
    """What goes wrong, chosen by a seed; one thing after another, at times two at once."""

    def __init__(self, nodes: list[Node], chance: random.Random, kinds: tuple[str, ...]) -> None:
        self._nodes = nodes
        self._chance = chance
        self._kinds = kinds
        self.counts: dict[str, int] = {}

    def one(self) -> None:
        """A pause, and faults that last for a while."""
        QUIET.wait(self._chance.uniform(*CALM_SECONDS))
        if QUIET.is_set():
            return
        with ExitStack() as stack:
            kinds = self._chance.sample(self._kinds, self._chance.randint(1, 2))
            victims = self._chance.sample(range(LEFT_ALONE), 2)
            for kind, victim in zip(kinds, victims, strict=False):
                self.counts[kind] = self.counts.get(kind, 0) + 1
                stack.enter_context(self._fault(kind, self._nodes[victim]))
            QUIET.wait(self._chance.uniform(*FAULT_SECONDS))

    def _fault(self, kind: str, node: Node) -> AbstractContextManager[None]:
        if kind == "cut":
            return cut(self._nodes, self._chance)
        if kind == "full":
            return full(node)
        return dead(node, signal.SIGKILL if kind == "kill" else signal.SIGTERM)


def verdict(node: Node, since: float) -> tuple[str, bool]:
    """What a daemon takes and how that grows since a time; and whether it is too much."""
    looks = [(at, mib, files) for at, mib, files in node.samples if at >= since]
    if not looks:
        return "too few samples", False
    most_files = max(files for _, _, files in looks)
    said = [f"at most {max(mib for _, mib, _ in looks):.1f} MiB"]
    said.append(f"{most_files:.0f} of {MAX_FILES} files")
    is_bad = most_files > MAX_FILES
    if node.lives == 1:
        for unit, samples in (
            ("MiB", [(at, mib) for at, mib, _ in looks]),
            ("files", [(at, files) for at, _, files in looks]),
        ):
            growth = growth_of(samples)
            is_grown = growth is not None and growth.exceeds(MAX_GROWTH)
            is_bad |= is_grown
            said.append(f"{unit} {growth or '(too few minutes)'}{' GROWS' if is_grown else ''}")
    return ", ".join(said), is_bad


def report(at: float, writer: Writer, readers: list[Reader], nodes: list[Node]) -> None:
    """One line: what was appended, followed (by the slowest), lost, torn, wrong; memory, files."""
    taken = " ".join(
        f"{node.name} {node.samples[-1][1]:.1f}/{node.samples[-1][2]:.0f}"
        for node in nodes
        if node.samples
    )
    print(
        f"{at / 60:5.1f} min: appended {writer.appended}, followed"
        f" {min(reader.lines for reader in readers)}, lost {lost(writer, readers)}, torn"
        f" {sum(reader.torn for reader in readers)}, wrong"
        f" {sum(reader.wrong for reader in readers)}; MiB/files: {taken}",
        flush=True,
    )


def lost(writer: Writer, readers: list[Reader]) -> int:
    """Lines that are gone anywhere."""
    return writer.lost + sum(reader.lost for reader in readers)


def soak(minutes: float, seed: int, nodes: list[Node], kinds: tuple[str, ...]) -> int:
    """The whole run; the exit code."""
    writer = Writer(nodes[OWNER])
    readers = [Reader(nodes[number]) for number in READERS]
    for node in nodes:
        node.start()
    writer_feed = nodes[OWNER].feed
    os.close(os.open(writer_feed, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    feed_id = os.getxattr(writer_feed, "protozorfs.id").decode()
    for node in nodes[1:]:
        node.feed.symlink_to(feed_id)
    faults = Faults(nodes, random.Random(seed), kinds)
    failures: list[BaseException] = []
    steps = [writer.write_some, *(reader.read_some for reader in readers)]
    threads = [threading.Thread(target=repeat, args=(step, failures)) for step in steps]
    chaos = threading.Thread(target=repeat, args=(faults.one, failures))
    for thread in (*threads, chaos):
        thread.start()
    begun = time.monotonic()
    next_report = 60.0
    warm: float | None = None
    while (at := time.monotonic() - begun) < 60 * minutes and not STOPPED.wait(SAMPLE_SECONDS):
        for node in nodes:
            node.sample(at)
        if warm is None and min(reader.lines for reader in readers) >= WARM_LINES:
            warm = at
        if at >= next_report:
            report(at, writer, readers, nodes)
            next_report += 60.0
    QUIET.set()
    while any(node.mount is None for node in nodes) and not STOPPED.wait(0.1):
        pass
    STOPPED.set()
    for thread in (*threads, chaos):
        thread.join()
    if not failures:
        catch_up(writer, readers)
    report(time.monotonic() - begun, writer, readers, nodes)
    print("faults:", ", ".join(f"{kind} {count}" for kind, count in sorted(faults.counts.items())))
    print(f"lives: {sum(node.lives for node in nodes)}; appends refused: {writer.refused}")
    is_grown = False
    since = f"since {warm / 60:.1f} min" if warm is not None else "(the caches are not full yet)"
    for node in nodes:
        said, is_bad = verdict(node, 0.0 if warm is None else warm)
        is_grown |= is_bad and warm is not None
        print(f"{node.name} {since}: {said}")
    for error in failures:
        print(f"soak: {error!r}", file=sys.stderr)
    bad = sum(reader.torn + reader.wrong for reader in readers) + lost(writer, readers)
    return 1 if bad or failures or is_grown else 0


def catch_up(writer: Writer, readers: list[Reader]) -> None:
    """Without faults, every reader gets every line; all are read again from the first on."""
    writer.look()
    for reader in readers:
        reader.restart()
    deadline = time.monotonic() + CATCH_UP_SECONDS
    for reader in readers:
        while reader.lines < writer.appended and time.monotonic() < deadline:
            reader.read_some()
            time.sleep(0.1)
        reader.finish(writer.appended)


def main() -> int:
    """The exit code: 1 if anything was lost, torn or wrong, or a daemon failed or grows."""
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("minutes", type=float, nargs="?", default=MINUTES)
    parser.add_argument("seed", type=int, nargs="?", default=SEED)
    parser.add_argument("--without-ends", action="store_true", help="no daemon is ended")
    arguments = parser.parse_args()
    minutes, seed = arguments.minutes, arguments.seed
    kinds = FAULTS if arguments.without_ends else (*ENDS, *FAULTS)
    clocks = "monotonic and wall" if FAKETIME is not None else "monotonic (no libfaketime here)"
    print(f"soak: {minutes:g} minutes, seed {seed}, clocks: {clocks}", flush=True)
    seconds = 60 * minutes + MORE_SECONDS
    with (
        TemporaryDirectory(prefix="soak-") as work,
        network(len(NAMES), LINKS, seconds) as hosts,
    ):
        nodes = []
        for number, name in enumerate(NAMES):
            dialled = [left for left, right in LINKS if right == number]
            peers = [hosts[peer].address_seen_by(number) for peer in dialled]
            chance = random.Random(f"{seed} {name}")
            nodes.append(Node(name, Path(work), hosts[number], peers, chance))
            nodes[-1].store.mkdir()
            disk = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs"]
            subprocess.run([*disk, str(nodes[-1].store)], check=True, timeout=10)
        try:
            return soak(minutes, seed, nodes, kinds)
        finally:
            for node in nodes:
                if node.mount is not None:
                    with suppress(AssertionError):
                        node.end(signal.SIGTERM)
                unmount(node.directory / node.name, "-z")
                subprocess.run(["umount", "-l", str(node.store)], check=False, timeout=10)


if __name__ == "__main__":
    sys.exit(main())
