"""One run of the product over the files of a whole store, and what its callers are told.

It makes the calls that a mount makes, one at a time: it opens the store, finishes what an earlier
run left, creates feeds, follows one, renames, appends, syncs, fetches, drops, removes, and closes.
`Told` keeps what callers know after each; `Process.open` judges by it what is there.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import BlockUnavailable, StoreError
from protozorfs.feeds.recovery import name_unnamed
from protozorfs.log.feed import Log
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.names import own_id_name
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles, Store
from protozorfs.store.keys import load_or_make_key_pair
from protozorfs.store.making import FEEDS
from protozorfs.store.name_records import NameRow
from protozorfs.store.names import Names
from protozorfs.store.placement import PLACED_WITH_NODE, Placement
from protozorfs.store.spare import Spare
from protozorfs.types import FeedId
from tests.simulation.judge import Judge, NamesJudge, Violation
from tests.simulation.log_life import judge_opened, shown_head

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

POOL_LIMIT = 12
SOURCE_SEED = b"\xaa" * 32
DROPPED = (2, 9)  # blocks of the followed feed
# Files of which one bad bit may take nothing, and those of which it may refuse their feed's use.
REDUNDANT = ("names", "names.copy", "head", "clean", "bitfield")
MAY_REFUSE = ("data", "tree", "secret")


def seed_of(number: int) -> bytes:
    """The secret of the owned feed with that number."""
    return bytes([number]) * 32


@lru_cache
def feed_id_of(seed: bytes) -> FeedId:
    """Of the feed with that secret."""
    return FeedId(crypto.key_pair(seed).public_key)


FOLLOWED = feed_id_of(SOURCE_SEED)
FOLLOWED_NAME = b"followed"


class _NoSpare(Spare):
    """Sets nothing aside: 128 KiB more in each of thousands of disks would show nothing."""

    def keep(self) -> None:
        pass

    def give_up(self) -> bool:
        return False


class SimulatedStore(Store):
    """A store on a simulated disk: opened by the same steps, but for its directory and lock."""

    def __init__(self, files: MemoryFiles) -> None:
        self.path = Path("simulated")
        self._visited = set()
        self.files = files
        self.pool = FilePool(files, POOL_LIMIT)
        files.mkdir(FEEDS)
        self._node_placement = Placement(files, "node_key_place", "", PLACED_WITH_NODE)
        self.node_key, self.is_new_node = load_or_make_key_pair(
            files, "node_key", self._node_placement
        )
        self.names = Names(files)
        self._spare = _NoSpare(files)


class Source:
    """The feed of somebody else, which is followed; on a disk of its own that never fails."""

    def __init__(self) -> None:
        directory = FeedDirectory(FilePool(MemoryFiles(), POOL_LIMIT), FOLLOWED)
        self.log = Log.create(directory, SOURCE_SEED)
        self.blocks: list[bytes] = []

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


@dataclass
class Told:
    """What callers were told. Feeds that they have, or may have, are in `names`."""

    names: NamesJudge = field(default_factory=NamesJudge)
    judges: dict[int, Judge] = field(default_factory=dict)
    made: set[int] = field(default_factory=set)  # feeds of our own, whose keys must be there
    doubtful: set[int] = field(default_factory=set)  # a directory of theirs failed to sync once
    fetched: set[int] = field(default_factory=set)
    node_key: bytes = b""  # durable with the first name at the latest

    def clone(self) -> Told:
        """For another end of the story."""
        judges = {number: judge.clone() for number, judge in self.judges.items()}
        return Told(
            self.names.clone(),
            judges,
            set(self.made),
            set(self.doubtful),
            set(self.fetched),
            self.node_key,
        )


class Process:
    """An open store. What it is asked for it tells; where it fails, too, and goes on.

    Attributes:
        failures: what was refused, in the words of the errors.
        is_disk_failing: every call of the disk fails from some moment on: what a change of names
            that is refused then has left in one file cannot be taken back, and may show later.
    """

    is_disk_failing = False

    def __init__(self, files: MemoryFiles, told: Told, source: Source) -> None:
        """Opens a store, which nobody judges; `open` does."""
        self.files = files
        self.told = told
        self.source = source
        self.store = SimulatedStore(files)
        self.logs: dict[int, Log] = {}
        self.follower: Log | None = None
        self.failures: list[str] = []

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
            process = cls(files, told, source)
            name_unnamed(process.store)
            _Look(process, was_power_cut=was_power_cut, flipped=flipped).judge()
        except (StoreError, OSError) as error:
            raise Violation("usable", f"{type(error).__name__}: {error}") from error
        return process

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
                self.store.names.add(NameRow(name, feed_id, True, number, number))
            except (StoreError, OSError):
                self.logs.pop(number, None)
                self.store.remove_feed(feed_id, with_secret=True)
                raise
            names.returned(feed_id, name)
            self.told.made.add(number)
            self.told.node_key = self.store.node_key.public_key

    def follow(self) -> None:
        """The feed of the source gets a name."""
        self.told.names.begins(FOLLOWED, FOLLOWED_NAME)
        with self._refusing_name(FOLLOWED, FOLLOWED_NAME):
            self.store.names.add(NameRow(FOLLOWED_NAME, FOLLOWED, False, 1, 1))
            self.told.names.returned(FOLLOWED, FOLLOWED_NAME)
            self.told.node_key = self.store.node_key.public_key

    def rename(self, feed_id: FeedId, new: bytes) -> None:
        """Gives a feed another name."""
        row = self.store.names.by_feed_id(feed_id)
        if row is None:
            return
        self.told.names.begins(feed_id, new)
        with self._refusing_name(feed_id, new):
            self.store.names.rename(row.name, new)
            self.told.names.returned(feed_id, new)

    def append(self, number: int, blocks: Sequence[bytes]) -> None:
        """Appends to a feed of our own."""
        judge = self.told.judges[number]
        judge.append_begins(list(blocks))
        with self._failing(judge.append_failed):
            self.logs[number].append(blocks)
            judge.append_returned()

    def sync(self, number: int) -> None:
        """Makes it durable, and shows that to peers."""
        judge, log = self.told.judges[number], self.logs[number]
        judge.sync_begins()
        with self._failing(judge.sync_failed):
            log.sync()
            judge.sync_returned()
        judge.shown(shown_head(log.durable_head))

    def fetch(self, turn: int) -> None:
        """Most blocks of the followed feed come in, a few at a time."""
        if self.store.names.by_feed_id(FOLLOWED) is None:
            return
        length = len(self.source.blocks)
        with self._failing():
            if self.follower is None:
                self.follower = Log.open(self.store.feed(FOLLOWED))
            if self.follower.length < length:
                self.source.upgrade(self.follower)
            held = self.follower.held
            wanted = [i for i in range(length) if i % 5 != turn % 5 and not held.get(i)]
            for start in range(0, len(wanted), 3):
                some = wanted[start : start + 3]
                self.source.send(self.follower, some)
                self.told.fetched.update(some)

    def drop(self) -> None:
        """Some of them go again, after a clean stop: what its mark says is wrong from then on."""
        if self.follower is None:
            return
        with self._failing():
            self.follower.close()
            self.follower = Log.open(self.store.feed(FOLLOWED))
            self.told.fetched -= set(range(*DROPPED))
            self.follower.drop(*DROPPED)

    def keep_times(self, at: int) -> None:
        """Feeds have grown."""
        with self._failing():
            self.store.names.set_mtimes([(feed_id_of(seed_of(number)), at) for number in self.logs])

    def remove(self, feed_id: FeedId) -> None:
        """A feed goes, with its name and its files, and of our own with its key."""
        row = self.store.names.by_feed_id(feed_id)
        if row is None:
            return
        self.told.names.begins(feed_id, None)
        with self._refusing_name(feed_id, None):
            self.store.remove_name(row.name)
            self.told.names.returned(feed_id, None)
            self._rest(feed_id)
        if self.store.names.by_feed_id(feed_id) is None:
            with self._failing():
                self.store.remove_feed(feed_id, with_secret=True)

    def close(self) -> None:
        """A clean stop."""
        for number, log in self.logs.items():
            with self._failing():
                log.close()
                if log.directory.is_marked_clean():
                    self.told.judges[number].closed_cleanly()
        if self.follower is not None:
            with self._failing():
                self.follower.close()
        self.logs, self.follower = {}, None
        self.store.names.close()

    def _rest(self, feed_id: FeedId) -> None:
        if feed_id == FOLLOWED:
            self.told.fetched.clear()
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

    def _perhaps(self, name: bytes | None) -> tuple[bytes | None, ...]:
        return (name,) if self.is_disk_failing else ()

    @contextmanager
    def _failing(self, told: Callable[[], None] = lambda: None) -> Iterator[None]:
        try:
            yield
        except (StoreError, OSError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            told()
            failed = {one for one, log in self.logs.items() if log.directory.has_failed_sync}
            self.told.doubtful |= failed


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
        has_key = told.node_key in (b"", store.node_key.public_key)
        if not has_key:
            raise Violation("key", "the node has another key")
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

    def _judge_owned(self, number: int) -> None:
        directory = self._store.feed(feed_id_of(seed_of(number)))
        is_made = number in self._told.made  # else its making was cut off somewhere
        is_sure = is_made and number not in self._told.doubtful
        if not directory.is_owned():
            if not is_made:
                return
            raise Violation("key", f"the key of feed {number} is gone")
        why = directory.displacement()
        if why and is_sure and self._flipped not in ("place", "clean"):
            raise Violation("place", f"feed {number} takes itself for a copy: {why}")
        judge = self._told.judges[number]
        if self._flipped in MAY_REFUSE:
            _judge_damaged(directory, judge)
            return
        self._process.logs[number] = log = Log.open(directory)
        judge_opened(log, judge, was_power_cut=self._was_power_cut)

    def _judge_followed(self) -> None:
        told, source = self._told, self._process.source
        self._process.follower = log = Log.open(self._store.feed(FOLLOWED))
        held = set()
        for index in range(log.length):
            try:
                block = log.block(index)  # one that is not noted is looked for
            except BlockUnavailable:  # it was wrong, or was never here
                continue
            if block != source.blocks[index]:
                raise Violation("wrong", f"block {index} of the followed feed")
            held.add(index)
        is_whole = not self._was_power_cut and self._flipped not in (*MAY_REFUSE, "head")
        if is_whole and not held >= told.fetched:
            raise Violation("returned", f"fetched blocks are gone: {told.fetched - held}")
        told.fetched &= held
        if log.length and log.length < len(source.blocks) and not self._flipped:
            source.upgrade(log)


def _judge_damaged(directory: FeedDirectory, judge: Judge) -> None:
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
    judge.shown(shown_head(log.durable_head))


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
    paths = [path for path in files_below(files) if files.read(path)]
    if not paths:
        return ""
    path = choice.choice(paths)
    files.flip_bit(path, choice.randrange(8 * len(files.read(path))))
    return path


def new_source() -> Source:
    """A source of blocks of many sizes."""
    source = Source()
    source.append([b"%d." % index * (index * 37 % 500) for index in range(17)])
    return source
