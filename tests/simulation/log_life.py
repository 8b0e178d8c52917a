"""The lives of one owned feed on a simulated disk, drawn from a seed and judged at every turn.

A life is a sequence of appends, syncs and their halves, errors of the disk, kills, power cuts,
clean stops and openings, in any order and number. Wherever the power is cut, several of the states
that the disk may be in are opened and judged; the life goes on in one of them.
"""

from __future__ import annotations

import errno
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import StoreError
from protozorfs.log.feed import Log
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles
from protozorfs.store.memory_files import Stopped
from protozorfs.types import FeedId
from tests.simulation.judge import Judge, ShownHead, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from protozorfs.types import Head

SEED = bytes(range(32))
PAIR = crypto.key_pair(SEED)
FEED_ID = FeedId(PAIR.public_key)
SIZES = (0, 1, 20, 300, 511, 512, 513, 1300, 5000)  # of blocks, around sectors and pages
ERRORS = (errno.EIO, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM)
LOOK_ERRORS = (errno.EIO, errno.EMFILE, errno.ENOMEM)
MAX_STEP_OPERATIONS = 12  # how far ahead the operation lies that is to fail


def shown_head(head: Head | None) -> ShownHead | None:
    """The head as a peer sees it."""
    if head is None:
        return None
    return ShownHead(head.fork, head.length, head.tree_hash, head.signature)


def open_log(files: MemoryFiles) -> Log:
    """Opens the feed of these tests as a new process does."""
    return Log.open(FeedDirectory(FilePool(files, limit=8), FEED_ID))


def judge_opened(log: Log, judge: Judge, *, was_power_cut: bool) -> None:
    """Reads all of an opened feed."""
    try:
        blocks = [log.block(index) for index in range(log.length)]
        content = log.read(0, log.byte_length + 1)
    except (StoreError, OSError) as error:
        judge.unusable(error)
        raise
    judge.opened(log.length, blocks, content, was_power_cut=was_power_cut)
    judge.shown(shown_head(log.durable_head))


class LogLife:
    """One feed, its disk, and what its callers were told.

    Attributes:
        cuts: how many power cuts came.
        states: how many states after a cut were opened.
        story: what happened, for whoever has to find out why.
    """

    def __init__(self, seed: int, *, fan: int = 4, files: MemoryFiles | None = None) -> None:
        """`fan`: how many states are opened after each cut."""
        self.choice = random.Random(seed)
        self.files = files or MemoryFiles(seed)
        self.judge = Judge(PAIR.public_key)
        self.cuts = self.states = 0
        self.story: list[str] = []
        self._fan = fan
        self._was_cut = False  # since the feed was open
        self._has_failed = False  # something, since it was opened
        self._number = 0  # of the next block
        self._log = Log.create(FeedDirectory(FilePool(self.files, limit=8), FEED_ID), SEED)

    def run(self, steps: int) -> None:
        """Lives so many steps, then is cut and opened a last time.

        Raises:
            Violation: a rule was broken; the story is its note.
        """
        try:
            for _ in range(steps):
                self._step()
            self._cut()
            self._reopen()
        except Violation as violation:
            violation.add_note("; ".join(self.story))
            raise

    def _step(self) -> None:
        turn = self.choice.random()
        if turn < 0.35:
            with self._perhaps_failing():
                self._append()
        elif turn < 0.50:
            with self._perhaps_failing():
                self._sync()
        elif turn < 0.65:
            with self._perhaps_failing():
                self._sync_while_appending()
        elif turn < 0.75:
            with self._perhaps_failing():
                self._close()
        elif turn < 0.85:
            self._kill()
            self._reopen()
        else:
            self._cut()
            self._reopen()

    # what a process does

    def _append(self) -> None:
        blocks = []
        for _ in range(self.choice.choice((1, 1, 1, 2, 5))):
            size = self.choice.choice(SIZES)
            self._number += 1
            # Of one letter now and then: what a cut mixes up may fit then.
            text = b"x" if self.choice.random() < 0.2 else b"%d," % self._number
            blocks.append((text * size)[:size])
        self.story.append(f"append {len(blocks)}")
        self.judge.append_begins(blocks)
        try:
            self._log.append(blocks)
        except (StoreError, OSError) as error:
            self._failed(error)
            self.judge.append_failed()
        else:
            self.judge.append_returned()

    def _sync(self) -> None:
        self.story.append("sync")
        self.judge.sync_begins()
        try:
            self._log.sync()
        except (StoreError, OSError) as error:
            self._failed(error)
            self.judge.sync_failed()
        else:
            self.judge.sync_returned()
        self.judge.shown(shown_head(self._log.durable_head))

    def _sync_while_appending(self) -> None:
        """The halves of a sync, with an append between them, and one between its calls."""
        self.story.append("begin sync")
        self.judge.sync_begins()
        try:
            pending = self._log.begin_sync()
        except (StoreError, OSError) as error:
            self._failed(error)
            self.judge.sync_failed()
            return
        is_done = False
        try:
            if self.choice.random() < 0.5:
                self._append()
            self._append_before(self.files.operations + self.choice.randint(0, 3))
            pending.run()
            is_done = True
        except (StoreError, OSError) as error:
            self._failed(error)
        finally:
            self.files.watch(None)
            if not self._is_stopped:
                self._log.end_sync()
        if self.choice.random() < 0.5:
            self._append()
        if is_done:
            self.judge.sync_returned()
        else:
            self.judge.sync_failed()
        self.judge.shown(shown_head(self._log.durable_head))

    def _append_before(self, number: int) -> None:
        """Has the other thread append in the middle of a sync."""

        def watch(operation: int) -> None:
            if operation == number:
                self.files.watch(None)
                self._append()

        self.files.watch(watch)

    def _close(self) -> None:
        self.story.append("close")
        try:
            self._log.close()
        except (StoreError, OSError) as error:
            self._failed(error)
        else:
            if self._log.directory.is_marked_clean():
                self.judge.closed_cleanly()
        self._reopen()

    # what befalls it

    @property
    def _is_stopped(self) -> bool:
        try:
            self.files.exists("")
        except Stopped:
            return True
        return False

    @contextmanager
    def _perhaps_failing(self) -> Iterator[None]:
        """In the body the disk may fail, or everything may stop: then it is opened again."""
        turn = self.choice.random()
        ahead = self.choice.randint(0, self.choice.choice((3, MAX_STEP_OPERATIONS)))
        if turn < 0.25:
            self._arm(ahead, "stop")
        elif turn < 0.45:
            self._arm(ahead, self.choice.choice(ERRORS))
        elif turn < 0.50:
            number = self.choice.choice(LOOK_ERRORS)
            self.files.fail_look_at(self.files.looks + ahead, number)
            self.story.append(f"[look + {ahead}: {errno.errorcode[number]}]")
        try:
            yield
        except Stopped:
            self.story.append("stopped")
            if self.choice.random() < 0.5:
                self._kill()
            else:
                self._cut()
            self._reopen()
        finally:
            self.files.watch(None)
            self._disarm()

    def _arm(self, ahead: int, failure: str | int) -> None:
        is_lasting = failure not in ("stop", errno.EIO) and self.choice.random() < 0.3
        self.files.fail_at(self.files.operations + ahead, failure, is_lasting=is_lasting)
        name = failure if isinstance(failure, str) else errno.errorcode[failure]
        self.story.append(f"[operation + {ahead}: {name}{' from then on' if is_lasting else ''}]")

    def _disarm(self) -> None:
        self.files.fail_at(None)
        self.files.fail_look_at(None)

    def _failed(self, error: Exception) -> None:
        self.story.append(f"{type(error).__name__}")
        self._has_failed = True

    def _kill(self) -> None:
        self.story.append("kill")
        self.files.kill()

    def _cut(self) -> None:
        """Opens some of the states that a cut may leave, and goes on in another."""
        self.cuts += 1
        self._was_cut = True
        self.files.kill()
        for _ in range(self._fan - 1):
            number = self.choice.getrandbits(32)
            files, judge = self.files.clone(), self.judge.clone()
            files.power_cut(random.Random(number))
            self.story.append(f"power cut (looked at {number})")
            self.states += 1
            judge_opened(self._opened(files, judge), judge, was_power_cut=True)
            self.story.pop()
        self.states += 1
        number = self.choice.getrandbits(32)
        self.story.append(f"power cut ({number})")
        self.files.power_cut(random.Random(number))

    def _reopen(self) -> None:
        """Opens the feed; that may be stopped again, any number of times."""
        self._disarm()
        while self.choice.random() < 0.25:
            self._arm(self.choice.randint(0, MAX_STEP_OPERATIONS), "stop")
            try:
                open_log(self.files)
            except Stopped:
                self.story.append("stopped while opening")
                if self.choice.random() < 0.5:
                    self._kill()
                else:
                    self._cut()
            except (StoreError, OSError) as error:
                self.judge.unusable(error)
            else:
                self.story.append("opened, killed")
                self.files.kill()
        self._disarm()
        self.story.append("open")
        self._log = self._opened(self.files, self.judge)
        judge_opened(self._log, self.judge, was_power_cut=self._was_cut)
        self._was_cut = self._has_failed = False

    @staticmethod
    def _opened(files: MemoryFiles, judge: Judge) -> Log:
        try:
            return open_log(files)
        except (StoreError, OSError) as error:
            judge.unusable(error)
            raise


def told(violation: Violation) -> str:
    """A violation with the story that led to it."""
    return "\n  ".join((str(violation), *getattr(violation, "__notes__", ())))


def run_lives(
    seeds: range, steps: int, *, fan: int = 4, prepare: Callable[[MemoryFiles], None] | None = None
) -> list[tuple[int, Violation]]:
    """The seeds whose lives broke a rule, each with the rule. `prepare`: changes each disk."""
    found = []
    for seed in seeds:
        files = MemoryFiles(seed)
        if prepare is not None:
            prepare(files)
        try:
            LogLife(seed, fan=fan, files=files).run(steps)
        except Violation as violation:
            found.append((seed, violation))
    return found
