"""Power cuts from the system calls of a real mount; see `scripts/powercut`.

Several processes append to feeds of a mount, sync, rename and remove them; the daemon is killed and
mounted again. A preloaded library (`recorder.c`) writes down what the daemon does to the files of
its store, and the workload marks in the same record what it was told. Then the record is replayed
on a simulated disk (`tests/simulation/record.py`), and after each call, states that a kill or a
power cut may leave are written out, opened by the real code, and compared with what was told.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import ProtozorfsError
from protozorfs.feeds.recovery import name_unnamed
from protozorfs.log.feed import Log
from protozorfs.store import Store
from protozorfs.store.memory_disk import (
    ANY,
    JOURNAL,
    MOMENTS,
    PAGE_BYTES,
    SECTOR_BYTES,
    WRITES,
    CutModel,
)
from tests.mounts import installed_command, start_mount, unmount
from tests.simulation.record import (
    Call,
    Replay,
    digest_of,
    read_record,
    write_mark,
    write_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store.memory_disk import Directory
    from tests.mounts import Mount

OPTIONS = "nodht,nolan,noportmap,bind=127.0.0.1"
BLOCK_BYTES = 64 * 1024  # what a longer write is divided into
SIZES = (1, 30, 500, 511, 1400, 5000, 70_000)  # of records, one write each
EXT4 = CutModel(PAGE_BYTES, MOMENTS, JOURNAL, survival=0.5, has_rubbish=False)
STRICT = CutModel(SECTOR_BYTES, WRITES, ANY, survival=0.5, has_rubbish=False)
SURVIVALS = (0.0, 0.5, 0.9, 1.0)
PATIENCE_SECONDS = 300.0  # no promise is about time, and the machine may be busy
UNSYNCED_EVERY = 3  # of the cut points, those that are tried without the syncs, too
_HERE = Path(__file__).parent


class Violation(Exception):
    """What a store shows is not what was promised."""


def record_of(tag: str, number: int) -> bytes:
    """The bytes of one write, which say what they are."""
    chance = random.Random(f"{tag} {number}")
    return (f"{tag} {number} " + "x" * chance.choice(SIZES)).encode() + b"\n"


def content_of(tag: str, count: int) -> bytes:
    """All bytes of a feed after so many writes."""
    return b"".join(record_of(tag, number) for number in range(count))


# the workload


def append_for(path: Path, tag: str, record: Path, count: int) -> None:
    """One process: appends to a feed until it has `count` more records, or the daemon dies."""
    chance = random.Random()
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        number = os.fstat(descriptor).st_size and count_in(path.read_bytes(), tag)
        for at in range(number, number + count):
            write_mark(record, {"does": "append", "tag": tag, "number": at})
            data = record_of(tag, at)
            done = os.write(descriptor, data)
            assert done == len(data), f"{done} of {len(data)} bytes of {tag}"
            write_mark(record, {"did": "append", "tag": tag, "number": at})
            if chance.random() < 0.3:
                write_mark(record, {"does": "sync", "tag": tag, "number": at})
                os.fsync(descriptor)
                write_mark(record, {"did": "sync", "tag": tag, "number": at})
            time.sleep(chance.random() * 0.01)


def count_in(content: bytes, tag: str, *, was_power_cut: bool = False) -> int:
    """How many whole records a feed has.

    A power cut may leave the first blocks of the last one, if that was not synced.

    Raises:
        Violation: it holds something else.
    """
    count, at = 0, 0
    while at < len(content):
        record, rest = record_of(tag, count), content[at:]
        if was_power_cut and record.startswith(rest) and len(rest) % BLOCK_BYTES == 0:
            return count
        if rest[: len(record)] != record:
            raise Violation(f"wrong bytes in {tag}, record {count}")
        count, at = count + 1, at + len(record)
    return count


class Workload:
    """A few lives of a mount."""

    def __init__(self, directory: Path, record: Path, library: Path) -> None:
        self._directory = directory
        self._record = record
        self._library = library
        self._names: dict[str, str] = {}  # of feeds, by their tags

    def run(self, lives: int, writers: int, records: int) -> None:
        """Each life ends by a kill, the last one cleanly."""
        for life in range(lives):
            mount = self._mount()
            try:
                self._live(mount, life, writers, records)
                if life == lives - 1:
                    mount.process.send_signal(signal.SIGTERM)
                    mount.process.wait(PATIENCE_SECONDS)
                    self._mark({"did": "stop"})
            finally:
                mount.process.kill()
                mount.process.wait()
                unmount(mount.path, "-z")

    def _mount(self) -> Mount:
        store = self._directory / "m.store"
        store.mkdir(mode=0o700, exist_ok=True)
        command = [
            *("env", f"LD_PRELOAD={self._library}", f"RECORDER_ROOT={store}"),
            *(f"RECORDER_FILE={self._record}", *installed_command()),
        ]
        mount = start_mount(
            self._directory, "-o", OPTIONS, command=command, patience_seconds=PATIENCE_SECONDS
        )
        counts = {
            tag: count_in((mount.path / name).read_bytes(), tag)
            for tag, name in self._names.items()
            if (mount.path / name).exists()
        }
        self._mark({"did": "mount", "counts": counts})
        return mount

    def _live(self, mount: Mount, life: int, writers: int, records: int) -> None:
        new = f"feed{life}-x"
        for tag in (f"feed{life}-{index}" for index in range(writers if life == 0 else 1)):
            self._create(mount, tag)
        processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "scripts.powercut", "--append", str(mount.path / name)),
                    *(tag, str(self._record), str(records)),
                ]
            )
            for tag, name in self._names.items()
        ]
        # While others write: one comes and goes, one is renamed back and forth.
        self._create(mount, new)
        self._rename(mount, new, new + "-renamed")
        self._remove(mount, new)
        for process in processes[: len(processes) // 2]:
            process.wait(PATIENCE_SECONDS)
        first = next(iter(self._names))
        self._rename(mount, first, f"renamed-in-{life}")
        if life % 2:
            mount.process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait(PATIENCE_SECONDS)
            assert not process.returncode, "a writer failed; its output is above"

    def _create(self, mount: Mount, tag: str) -> None:
        self._mark({"does": "create", "tag": tag, "name": tag})
        (mount.path / tag).touch()
        self._mark({"did": "create", "tag": tag, "name": tag})
        self._names[tag] = tag

    def _rename(self, mount: Mount, tag: str, new: str) -> None:
        self._mark({"does": "rename", "tag": tag, "name": new})
        (mount.path / self._names[tag]).rename(mount.path / new)
        self._mark({"did": "rename", "tag": tag, "name": new})
        self._names[tag] = new

    def _remove(self, mount: Mount, tag: str) -> None:
        self._mark({"does": "remove", "tag": tag})
        (mount.path / self._names.pop(tag)).unlink()
        self._mark({"did": "remove", "tag": tag})

    def _mark(self, what: dict[str, object]) -> None:
        write_mark(self._record, what)


# the judge


@dataclass
class Feed:
    """What callers were told of one feed. Counts are of records."""

    names: set[str]  # that it may have: two while it is renamed
    is_certain: bool = False  # it is there: not being made or removed
    tried: int = 0
    returned: int = 0
    syncing: int = 0
    synced: int = 0


class Told:
    """What the marks of a record say."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {}
        self.is_mounted = False

    def mark(self, data: dict[str, object]) -> None:
        """One more mark."""
        did, does = data.get("did"), data.get("does")
        if did == "mount":
            self.is_mounted = True
            counts = data["counts"]
            assert isinstance(counts, dict)
            for tag, count in counts.items():
                self.feeds[tag].tried = self.feeds[tag].returned = count
        elif did == "stop":
            for feed in self.feeds.values():
                feed.synced = feed.returned
        else:
            self._mark_feed(str(does or did), str(data["tag"]), data, is_done=did is not None)

    def _mark_feed(self, verb: str, tag: str, data: dict[str, object], *, is_done: bool) -> None:
        name, number = str(data.get("name")), int(str(data.get("number", 0))) + 1
        if verb == "create":
            self.feeds[tag] = Feed({name}, is_certain=is_done)
            return
        feed = self.feeds[tag]
        if verb == "rename":
            feed.names = {name} if is_done else feed.names | {name}
        elif verb == "remove" and is_done:
            del self.feeds[tag]
        elif verb == "remove":
            feed.is_certain = False
        elif verb == "append" and is_done:
            feed.returned = number
        elif verb == "append":
            feed.tried = number
        elif is_done:
            feed.synced = max(feed.synced, number)

    def judge(self, shown: dict[str, bytes], *, was_power_cut: bool) -> None:
        """Compares with what a store shows: the bytes of each feed, by name.

        Raises:
            Violation
        """
        names = {name for feed in self.feeds.values() for name in feed.names}
        for name, content in shown.items():
            if name not in names and content:
                raise Violation(f"a feed {name} of {len(content)} bytes is there that nobody has")
        for tag, feed in self.feeds.items():
            found = [shown[name] for name in feed.names if name in shown]
            if len(found) != 1 and (feed.is_certain or found):
                raise Violation(f"{tag} is there {len(found)} times, as {sorted(feed.names)}")
            if not found:
                continue
            count = count_in(found[0], tag, was_power_cut=was_power_cut)
            least = feed.synced if was_power_cut else feed.returned
            if not least <= count <= feed.tried and feed.is_certain:
                raise Violation(f"{tag} has {count} records: {least} must, {feed.tried} may be")


def contents_of(path: Path) -> dict[str, bytes]:
    """Opens a store as a mount does, and reads all feeds, by name."""
    found = {}
    with Store(path) as store:
        name_unnamed(store)
        for row in store.names.all():
            log = Log.open(store.feed(row.feed_id))
            found[row.name.decode()] = log.read(0, log.byte_length + 1)
            log.rest()
    return found


class Figures(NamedTuple):
    """What one worker has tried."""

    cuts: int
    full: int  # with as many different states as were asked for
    states: int
    violations: list[str]


def try_states(
    record: Path, scratch: Path, options: argparse.Namespace, worker: int, *, without_syncs: bool
) -> Figures:
    """Replays the record; after each call that is this worker's, opens states and judges them."""
    replay, told = Replay(ignores_syncs=without_syncs), Told()
    place = scratch / f"worker{worker}"
    cuts = full = states = 0
    violations: list[str] = []
    for number, call in enumerate(read_record(record)):
        if call.kind == "M":
            told.mark(decoded(call))
            continue
        if not replay.carry_out(call) or not told.is_mounted:
            continue
        if number % (options.jobs * options.every) != worker * options.every:
            continue
        cuts += 1
        tried = 0
        for name, state, was_cut in states_of(replay, number, options.states):
            tried += 1
            write_out(state, place)
            try:
                told.judge(contents_of(place), was_power_cut=was_cut)
            except (Violation, ProtozorfsError, OSError) as error:
                violations.append(f"call {number} ({call.kind} {call.path}), {name}: {error!r}")
            except Exception:
                violations.append(f"call {number}, {name}: {traceback.format_exc()}")
            shutil.rmtree(place)
        states += tried
        full += tried > options.states
    return Figures(cuts, full, states, violations)


def decoded(call: Call) -> dict[str, object]:
    """What a mark says."""
    data: dict[str, object] = json.loads(call.data)
    return data


def states_of(replay: Replay, number: int, count: int) -> Iterator[tuple[str, Directory, bool]]:
    """What a kill leaves, and as many different states after a power cut as there are."""
    yield "a kill", replay.root.clone({}), False
    chance, seen = random.Random(number), set[int]()
    for draw in range(3 * count):
        model = (EXT4, STRICT)[draw % 2]._replace(survival=chance.choice(SURVIVALS))
        seed = chance.getrandbits(32)
        state = replay.survivor(random.Random(seed), model)
        digest = digest_of(state)
        if digest not in seen:
            seen.add(digest)
            yield f"power cut {seed} of {model}", state, True
        if len(seen) == count:
            return


def main() -> int:
    """Runs the workload, then tries all states; the exit code is 1 if a promise was broken."""
    options = arguments()
    logging.getLogger("protozorfs").setLevel(logging.ERROR)  # each state opened has its warnings
    with tempfile.TemporaryDirectory(prefix="powercut", dir=options.directory) as name:
        directory = Path(name)
        record = options.replay or recorded(directory, options)
        kinds = Counter(call.kind for call in read_record(record))
        print(f"{sum(kinds.values()) - kinds['M']} calls: {dict(sorted(kinds.items()))}")
        with multiprocessing.Pool(options.jobs) as pool:
            trial = partial(try_states, record, directory, options, without_syncs=False)
            results = pool.map(trial, range(options.jobs))
            # Were the syncs of the daemon worth nothing, that must be seen.
            options.states, options.every = 1, options.every * UNSYNCED_EVERY
            trial = partial(try_states, record, directory, options, without_syncs=True)
            unsynced = pool.map(trial, range(options.jobs))
        violations = [each for result in results for each in result.violations]
        for each in violations[:20]:
            print(each)
        if violations:
            print(f"try these calls again: scripts/powercut --replay {kept(record)}")
    print(
        f"{sum(result.cuts for result in results)} cut points,"
        f" {sum(result.full for result in results)} of them with as many different states as asked,"
        f" {sum(result.states for result in results)} states, {len(violations)} violations"
    )
    seen = sum(len(result.violations) for result in unsynced)
    print(
        f"without the daemon's syncs: {sum(result.states for result in unsynced)} states,"
        f" {seen} violations"
    )
    return 1 if violations or not seen else 0


def recorded(directory: Path, options: argparse.Namespace) -> Path:
    """Runs the workload; the record of it."""
    library, record = directory / "recorder.so", directory / "record"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_HERE / "recorder.c")]
    subprocess.run([*command, "-ldl", "-pthread"], check=True)
    Workload(directory, record, library).run(options.lives, options.writers, options.records)
    return record


def kept(record: Path) -> Path:
    """Where a record stays when this run ends: no two runs make the same calls."""
    descriptor, name = tempfile.mkstemp(prefix="powercut-record-")
    with open(descriptor, "wb") as file:
        file.write(record.read_bytes())
    return Path(name)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/powercut", description="Power cuts of a mount.")
    parser.add_argument("--quick", action="store_true", help="a few states, for every run of CI")
    parser.add_argument("--lives", type=int, default=4, help="of the daemon (%(default)s)")
    parser.add_argument("--writers", type=int, default=4, help="processes (%(default)s)")
    parser.add_argument(
        "--records", type=int, default=25, help="of each in each life (%(default)s)"
    )
    parser.add_argument("--states", type=int, default=20, help="at each cut (%(default)s)")
    parser.add_argument(
        "--every", type=int, default=1, help="cuts at every n-th call (%(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--directory", help="where the store is, to choose the file system")
    parser.add_argument("--replay", type=Path, help="the record of an earlier run, instead of one")
    options = parser.parse_args()
    if options.quick:
        options.lives, options.writers, options.records = 2, 2, 6
        options.states, options.every = 2, 5
    return options


if __name__ == "__main__":
    if sys.argv[1:2] == ["--append"]:
        _, _, where, tag_, record_, count_ = sys.argv
        append_for(Path(where), tag_, Path(record_), int(count_))
        sys.exit(0)
    sys.exit(main())
