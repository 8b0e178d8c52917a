"""One run of the product over the files of a whole store, and what its callers are told.

It makes the calls that a mount makes, one at a time: it opens the store, finishes what an earlier
run left, creates feeds, follows one, visits another, renames, appends, syncs, fetches, drops,
checks, rests, repairs, removes, and closes. `Told` keeps what callers know after each;
`Process.open` judges by it what is there.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from protozorfs import crypto
from protozorfs.errors import BlockUnavailable, StoreError
from protozorfs.feeds.recovery import name_unnamed
from protozorfs.log.feed import Log
from protozorfs.log.feed_repair import cut_feed, plan_cut, repair_feed
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.names import own_id_name
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles, Store
from protozorfs.store.format import is_old_format, open_names
from protozorfs.store.keys import load_or_make_key_pair
from protozorfs.store.layout import SECRET_FILES, feed_path
from protozorfs.store.making import FEEDS
from protozorfs.store.name_records import NameRow
from protozorfs.store.placement import PLACED_WITH_NODE, Placement
from protozorfs.store.spare import Spare
from protozorfs.types import FeedId
from tests.simulation.judge import Judge, NamesJudge, Violation, check_mark
from tests.simulation.log_life import judge_opened, shown_head

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

POOL_LIMIT = 12
SOURCE_SEED = b"\xaa" * 32
FETCHED_FIRST, FETCHED_MORE = 9, 4  # blocks of the followed feed, at first and with each turn
DROPPED = (2, 9)  # blocks of the followed feed
# Files of which one bad bit may take nothing, and those of which it may refuse their feed's use.
REDUNDANT = ("names", "names.copy", "head", "clean", "bitfield")
MAY_REFUSE = ("data", "tree", "secret")
NEVER_FLIPPED = ("format", "names.db")  # here; what follows from that is tested elsewhere


def seed_of(number: int) -> bytes:
    """The secret of the owned feed with that number."""
    return bytes([number]) * 32


@lru_cache
def feed_id_of(seed: bytes) -> FeedId:
    """Of the feed with that secret."""
    return FeedId(crypto.key_pair(seed).public_key)


FOLLOWED = feed_id_of(SOURCE_SEED)
FOLLOWED_NAME = b"followed"
VISITED_SEED = b"\xbb" * 32
VISITED = feed_id_of(VISITED_SEED)
VISITED_NAME = b"visited"
FORMAT = b"protozorfs store 2\n"
BESIDE = "record"  # a file that is kept beside a feed


class _NoSpare(Spare):
    """Sets nothing aside: 128 KiB more in each of thousands of disks would show nothing."""

    def keep(self) -> None:
        pass

    def give_up(self) -> bool:
        return False


class SimulatedStore(Store):
    """A store on a simulated disk: opened by the same steps, but for its directory and lock."""

    def __init__(self, files: MemoryFiles, *, adopts: bool = False) -> None:
        self.path = Path("simulated")
        self._visited = set()
        self.files = files
        self.pool = FilePool(files, POOL_LIMIT)
        is_old = is_old_format(files, self.path)
        files.mkdir(FEEDS)
        self._node_placement = Placement(files, "node_key_place", "", PLACED_WITH_NODE)
        self.node_key, self.is_new_node = load_or_make_key_pair(
            files, "node_key", self._node_placement, adopts=adopts
        )
        self.names = open_names(files, self.path, is_old=is_old)
        self._spare = _NoSpare(files)


class Source:
    """The feed of somebody else; on a disk of its own that never fails."""

    def __init__(self, seed: bytes = SOURCE_SEED) -> None:
        directory = FeedDirectory(FilePool(MemoryFiles(), POOL_LIMIT), feed_id_of(seed))
        self.log = Log.create(directory, seed)
        self.blocks: list[bytes] = []
        self.visited: Source | None = None  # of a feed that is only visited

    def append(self, blocks: Sequence[bytes]) -> None:
        """Grows, durably."""
        self.log.append(blocks)
        self.log.sync()
        self.blocks += blocks

    def upgrade(self, reader: Log) -> None:
        """Sends the newest head."""
        growth = self.log.length - reader.length
        request = Request(upgrade=UpgradeRequest(reader.length, growth))
        reader.apply(request, self.log.proof(request))

    def send(self, reader: Log, indexes: Sequence[int]) -> None:
        """Sends blocks."""
        asked = [Request(block=BlockRequest(i, reader.request_hint(i))) for i in indexes]
        reader.apply_all([(request, self.log.proof(request)) for request in asked])


class Checked(NamedTuple):
    """Blocks of a feed that were checked behind an unclean stop.

    Attributes:
        noted: so that no kill takes it.
        durable: nor a power cut, until more is noted.
    """

    noted: frozenset[int]
    durable: frozenset[int] = frozenset()


@dataclass
class Told:
    """What callers were told. Feeds that they have, or may have, are in `names`.

    Attributes:
        names: what they were told of names.
        judges: and of each feed of our own.
        made: those whose keys must be there.
        have_key_twice: those whose keys are in both files.
        doubtful: the feeds of which a directory failed to sync once: an older mark may come back,
            and a file be lost.
        fetched: the blocks of the followed feed that they have.
        dropped: those that were given back.
        node_key: the public key of the node, as peers know it.
        other_key: that of the store which this one is a copy of.
        has_node_key_twice: it is in both of its files, and it is said where they are.
        has_names_twice: nothing has happened since a change of names returned.
        has_format: the store was open once, and says of which format it is.
        clean: the feeds that were marked clean and not written to since: True if a power cut takes
            nothing of that.
        checked: by feed.
        beside: what may stand in the file beside the followed feed.
        is_kept: a visited feed was given a name, and is not to go any more.
        copies: the feeds of our own that must take themselves for copies (True), or may (False).
        damaged: the feeds of our own, or the followed one, of which something is wrong.
        aside: of a feed that is cut, what its data was before, and how much of that is durable.
        cut_to: the length that such a feed is to have: as long as that it is whole.
    """

    names: NamesJudge = field(default_factory=NamesJudge)
    judges: dict[int, Judge] = field(default_factory=dict)
    made: set[int] = field(default_factory=set)
    have_key_twice: set[int] = field(default_factory=set)
    doubtful: set[FeedId] = field(default_factory=set)
    fetched: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    node_key: bytes = b""
    other_key: bytes = b""
    has_node_key_twice: bool = False
    has_names_twice: bool = False
    has_format: bool = False
    clean: dict[FeedId, bool] = field(default_factory=dict)
    checked: dict[FeedId, Checked] = field(default_factory=dict)
    beside: set[bytes] = field(default_factory=lambda: {b""})
    is_kept: bool = False
    copies: dict[int, bool] = field(default_factory=dict)
    damaged: set[FeedId] = field(default_factory=set)
    aside: dict[FeedId, tuple[bytes, int]] = field(default_factory=dict)
    cut_to: dict[FeedId, int] = field(default_factory=dict)

    def clone(self) -> Told:
        """For another end of the story."""
        return Told(
            self.names.clone(),
            {number: judge.clone() for number, judge in self.judges.items()},
            set(self.made),
            set(self.have_key_twice),
            set(self.doubtful),
            set(self.fetched),
            set(self.dropped),
            self.node_key,
            self.other_key,
            self.has_node_key_twice,
            self.has_names_twice,
            self.has_format,
            dict(self.clean),
            dict(self.checked),
            set(self.beside),
            self.is_kept,
            dict(self.copies),
            set(self.damaged),
            dict(self.aside),
            dict(self.cut_to),
        )

    def notes(self, feed_id: FeedId) -> frozenset[int]:
        """Something is about to be noted about blocks; returns those that are noted as checked."""
        noted = self.checked.get(feed_id, Checked(frozenset())).noted
        if noted:
            self.checked[feed_id] = Checked(noted)
        return noted

    def writes(self, feed_id: FeedId) -> None:
        """Something is about to be written to a feed."""
        self.clean.pop(feed_id, None)


class Process:
    """An open store. What it is asked for it tells; where it fails, too, and goes on.

    Attributes:
        failures: what was refused, in the words of the errors.
        is_disk_failing: every call of the disk fails from some moment on: what a change of names
            that is refused then has left in one file cannot be taken back, and may show later.
    """

    is_disk_failing = False

    def __init__(
        self, files: MemoryFiles, told: Told, source: Source, *, adopts: bool = False
    ) -> None:
        """Opens a store, which nobody judges; `open` does. `adopts`: it is said to be no copy."""
        self.files = files
        self.told = told
        self.source = source
        self.store = SimulatedStore(files, adopts=adopts)
        self.logs: dict[int, Log] = {}
        self.follower: Log | None = None
        self.failures: list[str] = []
        self._refused = files.failures  # calls, before this run

    @classmethod
    def open(
        cls,
        files: MemoryFiles,
        told: Told,
        source: Source,
        *,
        was_power_cut: bool,
        flipped: str = "",
    ) -> Process:
        """Opens all that there is, and judges it.

        Args:
            files: the disk; nothing is to fail.
            told: what callers know.
            source: of the followed feed.
            was_power_cut: since they were told.
            flipped: the name of the file, if any, of which one bit is wrong.

        Raises:
            Violation
        """
        try:
            _judge_files(files, told, was_power_cut=was_power_cut, flipped=flipped)
            process = cls(files, told, source)
            name_unnamed(process.store)
            _Look(process, was_power_cut=was_power_cut, flipped=flipped).judge()
        except (StoreError, OSError) as error:
            raise Violation("usable", f"{type(error).__name__}: {error}") from error
        process.is_open()
        return process

    def is_open(self) -> None:
        """Peers may know the node's key from now on, and it stays if this run has made it."""
        if self.store.is_new_node:
            self._shows_key()
        self.told.has_node_key_twice = self.told.has_format = True

    def _shows_key(self) -> None:
        self.told.node_key = self.store.node_key.public_key

    # what callers ask for

    def create(self, number: int) -> None:
        """A feed of our own, as `Feeds.create` makes it."""
        feed_id, names = feed_id_of(seed_of(number)), self.told.names
        name, left = b"feed %d" % number, own_id_name(feed_id)
        self.told.judges[number] = Judge(feed_id)
        names.begins(feed_id, name, left)
        with self._failing(lambda: names.failed(feed_id, left, *self._perhaps(name))):
            try:
                self.logs[number] = Log.create(self.store.feed(feed_id), seed_of(number))
                with self._changing_names():
                    self.store.names.add(NameRow(name, feed_id, True, number, number))
            except (StoreError, OSError):
                self.logs.pop(number, None)
                self.store.remove_feed(feed_id, with_secret=True)
                raise
            names.returned(feed_id, name)
            self.told.made.add(number)
            self.told.have_key_twice.add(number)
            self._shows_key()

    def follow(self) -> None:
        """The feed of the source gets a name."""
        self.told.names.begins(FOLLOWED, FOLLOWED_NAME)
        with self._refusing_name(FOLLOWED, FOLLOWED_NAME):
            with self._changing_names():
                self.store.names.add(NameRow(FOLLOWED_NAME, FOLLOWED, False, 1, 1))
            self.told.names.returned(FOLLOWED, FOLLOWED_NAME)
            self._shows_key()

    def rename(self, feed_id: FeedId, new: bytes) -> None:
        """Gives a feed another name."""
        row = self.store.names.by_feed_id(feed_id)
        if row is None:
            return
        self.told.names.begins(feed_id, new)
        with self._refusing_name(feed_id, new):
            with self._changing_names():
                self.store.names.rename(row.name, new)
            self.told.names.returned(feed_id, new)

    def append(self, number: int, blocks: Sequence[bytes]) -> None:
        """Appends to a feed of our own."""
        judge = self.told.judges[number]
        judge.append_begins(list(blocks))
        self.told.writes(feed_id_of(seed_of(number)))
        with self._failing(judge.append_failed):
            self.logs[number].append(blocks)
            judge.append_returned()
            # The first append of a run mends the key; one that the disk refuses that goes on.
            if self.files.failures == self._refused:
                self.told.have_key_twice.add(number)

    def sync(self, number: int) -> None:
        """Makes it durable, and shows that to peers."""
        judge, log = self.told.judges[number], self.logs[number]
        judge.sync_begins()
        self.told.writes(feed_id_of(seed_of(number)))
        with self._failing(judge.sync_failed):
            log.sync()
            judge.sync_returned()
        judge.shown(shown_head(log.durable_head))

    def fetch(self, turn: int) -> None:
        """Most blocks of the followed feed come in, a few at a time."""
        if self.store.names.by_feed_id(FOLLOWED) is None:
            return
        length = len(self.source.blocks)
        self._fetches()
        with self._failing():
            if self.follower is None:
                self.follower = Log.open(self.store.feed(FOLLOWED))
            if self.follower.length < length:
                self.source.upgrade(self.follower)
            held = self.follower.held
            end = min(length, FETCHED_FIRST + FETCHED_MORE * turn)
            wanted = [i for i in range(end) if i % 5 != turn % 5 and not held.get(i)]
            for start in range(0, len(wanted), 3):
                some = wanted[start : start + 3]
                self.source.send(self.follower, some)
                self.told.fetched.update(some)

    def drop(self) -> None:
        """Some of them go again, after a clean stop: what its mark says is wrong from then on."""
        if self.follower is None:
            return
        self._fetches()
        with self._failing():
            self.follower.close()
            self.follower = Log.open(self.store.feed(FOLLOWED))
            self.told.fetched -= set(range(*DROPPED))
            self.told.dropped |= set(range(*DROPPED))
            self.follower.drop(*DROPPED)

    def _fetches(self) -> None:
        self.told.writes(FOLLOWED)
        self.told.checked.pop(FOLLOWED, None)

    def keep_beside(self, content: bytes) -> None:
        """Something is kept beside the followed feed."""
        if self.follower is None:
            return
        before = set(self.told.beside)
        self.told.beside.add(content)
        with self._failing(lambda: self.told.beside.update(before)):
            self.follower.keep_beside(BESIDE, content)
            self.told.beside = {content}

    def visit(self, *, keeps: bool) -> None:
        """A feed is read by its ID alone, and gets a name (`keeps`) or goes."""
        store, names, visited = self.store, self.told.names, self.source.visited
        if visited is None or store.names.by_feed_id(VISITED) is not None:
            return
        left = own_id_name(VISITED)  # if a power cut takes the mark away, and not the rest
        with self._failing(lambda: names.failed(VISITED, left, *self._perhaps(VISITED_NAME))):
            names.begins(VISITED, left)
            store.begin_visit(VISITED)
            log = Log.open(store.feed(VISITED))
            if not log.length:
                visited.upgrade(log)
            visited.send(log, [0])
            log.rest()
            if keeps:
                names.begins(VISITED, VISITED_NAME)
                with self._changing_names():
                    store.names.add(NameRow(VISITED_NAME, VISITED, False, 1, 1))
                store.end_visit(VISITED)
                names.returned(VISITED, VISITED_NAME)
                with self._failing():  # it has its name, whether the mark goes or not
                    store.feed(VISITED).unmark_visited()
                    self.told.is_kept = True
            else:
                store.remove_feed(VISITED)
                names.returned(VISITED, None)

    def rest(self, feed_id: FeedId) -> None:
        """A feed is marked clean while it is open."""
        log = self._log(feed_id)
        if log is None:
            return
        with self._failing():
            if feed_id == FOLLOWED and log.head != log.durable_head:
                log.sync()
            rest = log.begin_rest()
            if rest is None:
                return
            try:
                rest.run()
            finally:
                log.end_rest(rest)
            if log.directory.is_marked_clean():
                self.told.clean[feed_id] = False

    def check(self, feed_id: FeedId, steps: int) -> None:
        """Some of what a kill left is checked, and that is kept."""
        log = self._log(feed_id)
        if log is None:
            return
        before = self.told.notes(feed_id)
        with self._failing():
            blocks = set[int]()
            for _ in range(steps):
                step = log.begin_check()
                if step is None:
                    break
                step.run()
                log.end_check(step)
                blocks |= set(range(step.start, step.end))
            progress = log.begin_progress()
            try:
                progress.run()
            finally:
                log.end_progress(progress)
            self.told.checked[feed_id] = Checked(before | blocks)

    def _log(self, feed_id: FeedId) -> Log | None:
        if feed_id == FOLLOWED:
            return self.follower
        return next((log for log in self.logs.values() if log.feed_id == feed_id), None)

    def keep_times(self, at: int) -> None:
        """Feeds have grown."""
        times = [(feed_id_of(seed_of(number)), at) for number in self.logs]
        with self._failing():
            if times:
                with self._changing_names():
                    self.store.names.set_mtimes(times)

    def remove(self, feed_id: FeedId) -> None:
        """A feed goes, with its name and its files, and of our own with its key."""
        row = self.store.names.by_feed_id(feed_id)
        if row is None:
            return
        self.told.names.begins(feed_id, None)
        with self._refusing_name(feed_id, None):
            with self._changing_names():
                self.store.remove_name(row.name)
            self.told.names.returned(feed_id, None)
            self.told.writes(feed_id)
            self.told.checked.pop(feed_id, None)
            self._rest(feed_id)
        if self.store.names.by_feed_id(feed_id) is None:
            with self._failing():
                self.store.remove_feed(feed_id, with_secret=True)
                if feed_id == FOLLOWED:
                    self.told.beside = {b""}

    def settle(self, number: int) -> None:
        """Nothing newer of a feed that may be a copy is elsewhere."""
        self.told.copies[number] = False
        self.told.writes(feed_id_of(seed_of(number)))
        with self._failing():
            self.logs[number].settle()
            del self.told.copies[number]

    def adopt(self) -> None:
        """Whatever looks like a copy is this store's. No log may be open."""
        self.told.clean.clear()
        self.told.copies = dict.fromkeys(self.told.copies, False)
        with self._failing():
            self.store.adopt()
            self.told.copies.clear()
            self._shows_key()
            self.is_open()

    def scrub(self, feed_id: FeedId) -> None:
        """All of a feed is read again; damage that can be mended is."""
        log = self._log(feed_id)
        if log is None:
            return
        self.told.writes(feed_id)
        with self._failing():
            at = 0
            while (step := log.begin_scrub(at, log.length)) is not None:
                step.run()
                log.end_scrub(step)
                at = step.end

    def repair(self, feed_id: FeedId) -> None:
        """What `check --repair` does with a feed. No log may be open."""
        self.told.writes(feed_id)
        with self._failing():
            repair_feed(self.store.feed(feed_id))
            self.told.damaged.discard(feed_id)
            self.told.clean[feed_id] = True

    def cut(self, number: int) -> None:
        """And with a damaged one of our own that is to be cut. No log may be open."""
        feed_id = feed_id_of(seed_of(number))
        judge, directory = self.told.judges[number], self.store.feed(feed_id)
        self.told.writes(feed_id)
        data = self.files.read(f"{directory.path}/data")
        self.told.aside[feed_id] = data, sum(map(len, judge.blocks[: judge.durable]))
        self.told.judges[number] = judge.cut_begins()
        self.told.cut_to[feed_id] = plan_cut(directory).length
        with self._failing():
            done = cut_feed(directory)
            self.told.judges[number] = judge.cut_to(done.length)
            self.told.aside[feed_id] = data, len(data)
            self.told.damaged.discard(feed_id)
            self.told.clean[feed_id] = True

    def close(self) -> None:
        """A clean stop."""
        for number, log in self.logs.items():
            with self._failing():
                self._close(log)
                if log.directory.is_marked_clean():
                    self.told.judges[number].closed_cleanly()
        if self.follower is not None:
            with self._failing():
                self._close(self.follower)
        self.logs, self.follower = {}, None
        self.told.has_names_twice = False
        self.store.names.close()

    def _close(self, log: Log) -> None:
        checked = self.told.checked.pop(log.feed_id, None)  # a kill from here on may take it
        log.close()
        if log.directory.is_marked_clean():
            if log.writes:
                self.told.clean[log.feed_id] = True
        elif checked is not None:
            is_synced = not log.directory.has_failed_sync
            durable = checked.noted if is_synced else checked.durable
            self.told.checked[log.feed_id] = checked._replace(durable=durable)

    def _rest(self, feed_id: FeedId) -> None:
        if feed_id == VISITED:
            self.told.is_kept = False
        elif feed_id == FOLLOWED:
            self.told.fetched.clear()
            self.told.dropped.clear()
            self.told.beside.add(b"")  # as long as not all of it is removed, it may come back
            follower, self.follower = self.follower, None
            if follower is not None:
                follower.rest()
        else:
            (number,) = (one for one in self.logs if feed_id_of(seed_of(one)) == feed_id)
            self.logs.pop(number).rest()

    @contextmanager
    def _refusing_name(self, feed_id: FeedId, name: bytes | None) -> Iterator[None]:
        with self._failing(lambda: self.told.names.failed(feed_id, *self._perhaps(name))):
            yield

    @contextmanager
    def _changing_names(self) -> Iterator[None]:
        self.told.has_names_twice = False
        yield
        self.told.has_names_twice = True

    def _perhaps(self, name: bytes | None) -> tuple[bytes | None, ...]:
        return (name,) if self.is_disk_failing else ()

    @contextmanager
    def _failing(self, told: Callable[[], None] = lambda: None) -> Iterator[None]:
        try:
            yield
        except (StoreError, OSError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            told()
            feeds = (FOLLOWED, *(feed_id_of(seed_of(number)) for number in self.told.judges))
            failed = {each for each in feeds if self.store.feed(each).has_failed_sync}
            self.told.doubtful |= failed


def _judge_files(files: MemoryFiles, told: Told, *, was_power_cut: bool, flipped: str) -> None:
    """Judges a store as it lies there, before anything is written to it."""
    if was_power_cut:
        told.clean = {feed_id: True for feed_id, is_durable in told.clean.items() if is_durable}
        told.checked = {
            one: each._replace(noted=each.durable) for one, each in told.checked.items()
        }
    for path in files_below(files):
        if files.is_torn(path):
            raise Violation("torn", f"{path} is there in part")
    if told.has_format and not (files.exists("format") and files.read("format") == FORMAT):
        raise Violation("format", "the store does not say of which format it is")
    is_twice = told.has_names_twice and not flipped.startswith("names")
    if is_twice and _content(files, "names") != _content(files, "names.copy"):
        raise Violation("twice", "one of the files of names lacks what the other has")
    told.has_names_twice = False  # opening may write one of them anew
    if flipped.startswith("node_key"):
        told.has_node_key_twice = False
    if told.has_node_key_twice:
        seed = _content(files, "node_key")
        copied = _content(files, "node_key.copy")[: len(seed)]
        if not (seed and copied == seed and _content(files, "node_key_place")):
            raise Violation("twice", "the node's key is not in both files, or has no place")
    for number in told.have_key_twice:
        feed_id = feed_id_of(seed_of(number))
        is_sure = told.names.must_have_name(feed_id) and feed_id not in told.doubtful
        if is_sure and not flipped.startswith("secret"):
            for name in SECRET_FILES:
                path = f"{feed_path(feed_id)}/{name}"
                if not files.exists(path) or files.read(path) != seed_of(number):
                    raise Violation("twice", f"the key of feed {number} is not in {name}")
    if told.is_kept and files.exists(f"{feed_path(VISITED)}/visited"):
        raise Violation("visited", "a feed that has a name is marked as one to go")
    for feed_id in told.clean:
        path = f"{feed_path(feed_id)}/clean"
        if flipped != "clean" and told.names.must_have_name(feed_id):
            check_mark(_content(files, path))


def _content(files: MemoryFiles, path: str) -> bytes:
    """Of a file; nothing if it is missing."""
    return files.read(path) if files.exists(path) else b""


class _Look:
    """Judges a store that was opened."""

    def __init__(self, process: Process, *, was_power_cut: bool, flipped: str) -> None:
        self._process = process
        self._told = process.told
        self._store = process.store
        self._was_power_cut = was_power_cut
        self._flipped = flipped

    def judge(self) -> None:
        told, store = self._told, self._store
        if store.node_key.public_key == told.other_key:
            raise Violation("key", "the node has the key of another store")
        has_key = told.node_key in (b"", store.node_key.public_key)
        if not has_key:
            raise Violation("key", "the node has another key")
        if not (self._flipped or store.names.is_complete):
            raise Violation("name", "some are said to be lost, and none is")
        told.names.opened([(row.name, row.feed_id) for row in store.names.all()])
        for directory in store.feeds():
            if store.names.by_feed_id(directory.feed_id) is None:
                raise Violation("removed", f"{directory.path} is left of a feed without a name")
        for number in told.judges:
            if told.names.must_have_name(feed_id_of(seed_of(number))):
                self._judge_owned(number)
        if told.names.must_have_name(FOLLOWED):
            self._judge_followed()
        else:
            told.fetched.clear()
        told.clean = {
            one: each for one, each in told.clean.items() if told.names.must_have_name(one)
        }

    def _judge_owned(self, number: int) -> None:
        directory = self._store.feed(feed_id_of(seed_of(number)))
        is_made = number in self._told.made  # else its making was cut off somewhere
        is_doubtful = directory.feed_id in self._told.doubtful or number in self._told.copies
        is_sure = is_made and not is_doubtful
        if not directory.is_owned():
            if not is_made:
                return
            raise Violation("key", f"the key of feed {number} is gone")
        why = directory.displacement()
        if why and is_sure and self._flipped not in ("place", "clean"):
            raise Violation("place", f"feed {number} takes itself for a copy: {why}")
        if self._told.copies.get(number) and not why:
            raise Violation("place", f"feed {number} was changed elsewhere, and asks nobody")
        judge = self._told.judges[number]
        if directory.feed_id in self._told.aside:
            self._judge_aside(directory)
        has_only_copy = self._flipped == "secret.copy" and number not in self._told.have_key_twice
        is_refusable = self._flipped in MAY_REFUSE or has_only_copy
        if is_refusable or directory.feed_id in self._told.damaged:
            _judge_damaged(directory, judge, self._told.cut_to.get(directory.feed_id))
            return
        self._process.logs[number] = log = Log.open(directory)
        self._judge_doubt(log)
        judge_opened(log, judge, was_power_cut=self._was_power_cut)

    def _judge_followed(self) -> None:
        told, source = self._told, self._process.source
        self._process.follower = log = Log.open(self._store.feed(FOLLOWED))
        self._judge_doubt(log)
        self._judge_beside(log)
        is_clean = log.directory.is_marked_clean() and FOLLOWED not in told.doubtful
        is_sure = is_clean or not self._was_power_cut
        claimed = {i for i in range(log.length) if log.held.get(i) and not log.in_doubt.get(i)}
        held = set()
        for index in range(log.length):
            try:
                block = log.block(index)  # one that is not noted is looked for
            except BlockUnavailable:  # it was wrong, or was never here
                continue
            if block != source.blocks[index]:
                raise Violation("wrong", f"block {index} of the followed feed")
            held.add(index)
        if self._flipped not in (*MAY_REFUSE, "head") and FOLLOWED not in told.damaged:
            if is_sure and not held >= told.fetched:
                raise Violation("returned", f"fetched blocks are gone: {told.fetched - held}")
            if not held >= claimed - told.dropped:
                raise Violation(
                    "doubt", f"blocks are gone that nothing was said of: {claimed - held}"
                )
        told.fetched &= held
        if log.length and log.length < len(source.blocks) and not self._flipped:
            source.upgrade(log)
        if log.writes:  # what was found, or was not, is noted
            told.writes(FOLLOWED)

    def _judge_doubt(self, log: Log) -> None:
        """After a clean stop there is none, and what was checked behind a kill is not again."""
        if self._flipped or log.feed_id in self._told.damaged:
            return
        doubt = {i for i in range(log.length) if log.in_doubt.get(i)}
        if log.feed_id in self._told.clean and not (log.directory.is_marked_clean() and not doubt):
            raise Violation("clean", f"{log.directory.path} is checked after a clean stop")
        checked = self._told.checked.get(log.feed_id)
        if checked is not None and doubt & checked.noted:
            raise Violation("checked", f"{doubt & checked.noted} are checked again")
        self._told.notes(log.feed_id)

    def _judge_aside(self, directory: FeedDirectory) -> None:
        before, durable_bytes = self._told.aside[directory.feed_id]
        files, path = self._store.files, f"{directory.path}/data"
        cut = [name for name in files.listdir(directory.path) if name.startswith("data.")]
        kept = {int(name.split(".")[1]): files.read(f"{directory.path}/{name}") for name in cut}
        size = next((at for at, content in kept.items() if before[at:] == content), durable_bytes)
        if files.read(path)[:size] != before[:size]:
            raise Violation("aside", f"of {path} something was cut off that is kept nowhere")

    def _judge_beside(self, log: Log) -> None:
        path = f"{log.directory.path}/{BESIDE}"
        content = _content(self._process.files, path)
        if content not in self._told.beside and self._flipped != BESIDE:
            raise Violation("beside", f"{path} holds {content!r}, not any of {self._told.beside}")


def _judge_damaged(directory: FeedDirectory, judge: Judge, cut_to: int | None) -> None:
    """Some of it may be refused; nothing is wrong, and nothing published is gone."""
    try:
        log = Log.open(directory)
    except StoreError:
        return
    blocks: list[bytes | None] = []
    for index in range(log.length):
        try:
            blocks.append(log.block(index))
        except (StoreError, OSError):
            blocks.append(None)
    judge.opened_damaged(log.length, blocks)
    if log.length == cut_to and None in blocks:
        raise Violation("synced", f"the feed was cut to {cut_to} blocks, which are not all there")
    judge.shown(shown_head(log.durable_head))
    log.rest()


def files_below(files: MemoryFiles, path: str = "") -> list[str]:
    """The paths of all files."""
    found = []
    for name in files.listdir(path):
        inner = f"{path}/{name}" if path else name
        try:
            found += files_below(files, inner)
        except FileNotFoundError:
            found.append(inner)
    return found


def flip_one_bit(files: MemoryFiles, choice: random.Random) -> str:
    """Flips any bit of any file; its path, or nothing if there is no file with a bit."""
    paths = [path for path in files_below(files) if path not in NEVER_FLIPPED and files.read(path)]
    if not paths:
        return ""
    path = choice.choice(paths)
    files.flip_bit(path, choice.randrange(8 * len(files.read(path))))
    return path


def new_source() -> Source:
    """A source of blocks of many sizes."""
    source = Source()
    source.append([b"%d." % index * (index * 37 % 500) for index in range(17)])
    source.visited = Source(VISITED_SEED)
    source.visited.append([b"seen"])
    return source
