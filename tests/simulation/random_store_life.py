"""The lives of a whole store on a simulated disk, drawn from a seed and judged at every turn.

As `log_life` does with one feed: whatever a mount does to a store, errors of the disk at any call,
kills, power cuts, clean stops and openings, in any order and number. Wherever it stops, some of the
states that the disk may be in are looked at, and some with one wrong bit.
"""

from __future__ import annotations

import errno
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError
from protozorfs.feeds.recovery import name_unnamed
from protozorfs.store import MemoryFiles
from protozorfs.store.memory_files import Stopped
from tests.simulation.judge import Violation
from tests.simulation.store_process import (
    FOLLOWED,
    Process,
    Told,
    feed_id_of,
    flip_one_bit,
    new_source,
    seed_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from protozorfs.types import FeedId

MAX_FEEDS = 4
SIZES = (0, 1, 20, 511, 512, 1300, 5000)  # of blocks
ERRORS = (errno.EIO, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM)
MAX_STEP_OPERATIONS = 20  # how far ahead the operation lies that is to fail


class StoreLife:
    """One store, its disk, and what its callers were told.

    Attributes:
        states: how many states were opened and judged.
        flips: how many of them with a wrong bit.
        errors: how many calls of the product were refused.
        story: what happened, for whoever has to find out why.
    """

    def __init__(
        self, seed: int, *, fan: int = 2, prepare: Callable[[MemoryFiles], None] | None = None
    ) -> None:
        """`fan`: how many states are looked at after each stop. `prepare`: changes the disk."""
        self.states = self.flips = self.errors = 0
        self.story: list[str] = []
        self._choice = random.Random(seed)
        self._files = MemoryFiles(seed)
        if prepare is not None:
            prepare(self._files)
        self._told = Told()
        self._source = new_source()
        self._fan = fan
        self._was_cut = False  # since it was open
        self._number = 0  # of the next feed, block or name
        self._steps: list[tuple[float, Callable[[], None]]] = [
            (0.22, self._append),
            (0.15, self._sync),
            (0.10, self._create),
            (0.12, self._rename),
            (0.05, self._remove),
            (0.08, lambda: self._process.fetch(self._choice.randint(0, 4))),
            (0.03, lambda: self._process.drop()),
            (0.03, lambda: self._process.keep_times(self._choice.randint(0, 1 << 40))),
            (0.05, lambda: self._process.follow() if not self._is_following() else None),
            (0.02, lambda: self._process.visit(keeps=self._choice.random() < 0.5)),
            (
                0.02,
                lambda: self._process.keep_beside(b"kept %d" % self._choice.randint(0, 1 << 40)),
            ),
            (0.02, self._rest),
            (0.02, self._check),
            (0.09, self._close),
        ]
        self._process = Process(self._files, self._told, self._source)
        self._process.is_open()

    def run(self, steps: int) -> None:
        """Lives so many steps, then is cut and opened a last time.

        Raises:
            Violation: a rule was broken; the story is its note.
        """
        try:
            for _ in range(steps):
                self._step()
            self._stop("power cut")
        except Violation as violation:
            violation.add_note("; ".join(self.story))
            raise

    def _step(self) -> None:
        turn = self._choice.random()
        if turn < 0.06:
            self._stop("kill")
        elif turn < 0.12:
            self._stop("power cut")
        else:
            weights, steps = zip(*self._steps, strict=True)
            (step,) = self._choice.choices(steps, weights)
            with self._perhaps_failing():
                before = len(self._process.failures)
                step()
                self._note_failures(before)

    # what a process does

    def _append(self) -> None:
        if not self._process.logs:
            return
        number = self._choice.choice(list(self._process.logs))
        blocks = []
        for _ in range(self._choice.choice((1, 1, 3))):
            self._number += 1
            size = self._choice.choice(SIZES)
            blocks.append((b"%d," % self._number * size)[:size])
        self.story.append(f"append {len(blocks)} to {number}")
        self._process.append(number, blocks)

    def _sync(self) -> None:
        if self._process.logs:
            number = self._choice.choice(list(self._process.logs))
            self.story.append(f"sync {number}")
            self._process.sync(number)

    def _create(self) -> None:
        if len(self._process.logs) < MAX_FEEDS:
            number = 1 + len(self._told.judges)
            self.story.append(f"create {number}")
            self._process.create(number)

    def _rename(self) -> None:
        feed_id = self._any_feed()
        if feed_id is not None:
            self._number += 1
            self.story.append(f"rename {feed_id.hex()[:4]} to {self._number}")
            self._process.rename(feed_id, b"name %d" % self._number)

    def _remove(self) -> None:
        feed_id = self._any_feed()
        if feed_id is not None:
            self.story.append(f"remove {feed_id.hex()[:4]}")
            self._process.remove(feed_id)

    def _rest(self) -> None:
        feed_id = self._any_feed()
        if feed_id is not None:
            self.story.append(f"rest {feed_id.hex()[:4]}")
            self._process.rest(feed_id)

    def _check(self) -> None:
        feed_id = self._any_feed()
        if feed_id is not None:
            self.story.append(f"check {feed_id.hex()[:4]}")
            self._process.check(feed_id, self._choice.randint(0, 2))

    def _any_feed(self) -> FeedId | None:
        feeds = [feed_id_of(seed_of(number)) for number in self._process.logs]
        feeds += [FOLLOWED] if self._is_following() else []
        return self._choice.choice(feeds) if feeds else None

    def _is_following(self) -> bool:
        return self._process.store.names.by_feed_id(FOLLOWED) is not None

    def _close(self) -> None:
        self.story.append("close")
        self._process.close()
        self._note_failures(0)
        if self._files.has_lost_names:
            self._stop("power cut")
            return
        self._files.kill()
        self._look()
        self._reopen()

    # what befalls it

    @contextmanager
    def _perhaps_failing(self) -> Iterator[None]:
        """In the body the disk may fail, or everything may stop: then it is opened again."""
        turn = self._choice.random()
        if turn < 0.15:
            self._arm("stop")
        elif turn < 0.35:
            self._arm(self._choice.choice(ERRORS))
        elif turn < 0.40:
            number, ahead = self._choice.choice(ERRORS), self._choice.randint(0, 9)
            self._files.fail_look_at(self._files.looks + ahead, number)
            self.story.append(f"[look + {ahead}: {errno.errorcode[number]}]")
        try:
            yield
        except Stopped:
            self._stop(self._choice.choice(("kill", "power cut")))
        finally:
            self._disarm()

    def _arm(self, failure: str | int) -> None:
        ahead = self._choice.randint(0, self._choice.choice((2, MAX_STEP_OPERATIONS)))
        is_lasting = failure != "stop" and self._choice.random() < 0.3
        self._process.is_disk_failing = is_lasting
        self._files.fail_at(self._files.operations + ahead, failure, is_lasting=is_lasting)
        name = failure if isinstance(failure, str) else errno.errorcode[failure]
        self.story.append(f"[operation + {ahead}: {name}{' from then on' if is_lasting else ''}]")

    def _disarm(self) -> None:
        self._files.fail_at(None)
        self._files.fail_look_at(None)
        self._process.is_disk_failing = False

    def _note_failures(self, before: int) -> None:
        refused = self._process.failures[before:]
        self.errors += len(refused)
        self.story += refused

    def _stop(self, how: str) -> None:
        self._cut_or_kill(how)
        self._reopen()

    def _cut_or_kill(self, how: str) -> None:
        if self._files.has_lost_names:  # only a restart of the machine makes it writable again
            how = "power cut"
        self.story.append(how)
        self._disarm()
        for _ in range(self._fan):
            self._look(how, self._choice.getrandbits(32))
        if how == "kill":
            self._files.kill()
        else:
            self._files.power_cut(self._choice)
            self._was_cut = True

    def _look(self, how: str = "kill", seed: int = 0) -> None:
        """Opens one state that the disk may be in, perhaps with a wrong bit; not the last one."""
        files, told, choice = self._files.clone(), self._told.clone(), random.Random(seed)
        if how != "kill":
            files.power_cut(choice)
        path = flip_one_bit(files, choice) if choice.random() < 0.5 else ""
        self.story.append(f"(looked at {seed}, wrong bit in {path or 'nothing'})")
        self._open(files, told, was_cut=self._was_cut or how != "kill", path=path)
        self.flips += bool(path)
        self.story.pop()

    def _reopen(self) -> None:
        """Opens the store; that may fail or be stopped, any number of times."""
        while self._choice.random() < 0.25:
            self._arm("stop" if self._choice.random() < 0.5 else self._choice.choice(ERRORS))
            self._told.has_names_twice = False  # a feed may get a name, in one file only
            try:
                name_unnamed(Process(self._files, self._told.clone(), self._source).store)
            except (Stopped, StoreError, OSError) as error:
                self.story.append(f"{type(error).__name__} while opening")
            self._told.has_names_twice = False  # it may have come to one of them
            self._cut_or_kill(self._choice.choice(("kill", "power cut")))
        self.story.append("open")
        self._process = self._open(self._files, self._told, was_cut=self._was_cut)
        self._was_cut = False

    def _open(self, files: MemoryFiles, told: Told, *, was_cut: bool, path: str = "") -> Process:
        self.states += 1
        flipped = path.rpartition("/")[2]
        return Process.open(files, told, self._source, was_power_cut=was_cut, flipped=flipped)
