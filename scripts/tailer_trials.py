"""Has tailers look at files that grow, and counts what they show.

Two files grow, `own` and `paul` (a followed feed). Between their lines come the steps of the table:

- drop_caches: the kernel forgets every file that nobody has open;
- remount: with another device number; daemons are ended before and started after it;
- rename: to `mine` and `his`;
- new feed: two others under the names `own` and `paul`, longer than what was read of the first two;
  what keeps its state between runs does not run meanwhile, and a remount follows.

After each, every tailer has to show every line once that was appended since the last one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from scripts.tailers import LINE_START, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scripts.tailer_worlds import World
    from scripts.tailers import Tailer

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".cache" / "tailers"  # of scripts/setup-tailers
PROGRAMS = ("venv/bin", "root/usr/bin", "root/usr/sbin")
LIBRARIES = ("root/lib/*-linux-gnu", "root/usr/lib/*-linux-gnu", "root/usr/lib/syslog-ng")
PERL_LIBRARIES = ("root/usr/share/perl5", "root/usr/lib/*-linux-gnu/perl5/*")

RUN_SECONDS = 30.0  # for a run over one file, and for the end of a daemon: a watchdog only
SHOW_SECONDS = 12.0  # for a daemon to show what was appended; what it has not by then is lost
QUIET_SECONDS = 1.2  # longer than every daemon's interval: what it shows again has come by then
LOOK_SECONDS = 0.05
WARM_SECONDS = 0.3  # between lines for a daemon that may not have begun to watch
WARM_LINES = 40
STEPS = ("drop_caches", "remount", "rename", "new feed")
FIRST = {"own": "own", "paul": "paul"}
SECOND = {"own": "mine", "paul": "his"}
FIRST_LINES, MORE_LINES, NEW_LINES = 20, 3, 60


def search_path() -> str:
    """Where the tailers are looked for."""
    return os.pathsep.join([os.environ["PATH"], _below_work(PROGRAMS), "/usr/sbin"])


def _below_work(patterns: Sequence[str]) -> str:
    """A search path of the directories that scripts/setup-tailers has made."""
    return os.pathsep.join(str(path) for pattern in patterns for path in WORK.glob(pattern))


def lines_of(output: bytes) -> Counter[str]:
    """The lines of ours in what a tailer shows, without what it puts before them."""
    lines = output.decode(errors="replace").splitlines()
    return Counter(
        LINE_START + line.split(LINE_START, 1)[1].strip() for line in lines if LINE_START in line
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tailer did with the lines of one step.

    Attributes:
        shown: how many of them it showed.
        again: how many more times than once it showed lines, these or earlier ones.
        lost: how many it did not show.
    """

    shown: int
    again: int
    lost: int

    @property
    def is_once(self) -> bool:
        return not self.again and not self.lost

    def __str__(self) -> str:
        parts = [f"{self.again} again"] * bool(self.again) + [f"{self.lost} lost"] * bool(self.lost)
        return ", ".join(parts) or ("once" if self.shown else "no more")


class Ledger:
    """Which lines a tailer may have shown, once, and which of them it has to have shown."""

    def __init__(self) -> None:
        self._written: Counter[str] = Counter()
        self._due: Counter[str] = Counter()

    def enter(self, lines: Counter[str], *, are_due: bool) -> None:
        self._written.update(lines)
        if are_due:
            self._due.update(lines)

    def missing(self, seen: Counter[str]) -> Counter[str]:
        return self._due - seen

    def forgive(self, seen: Counter[str]) -> None:
        """Takes what was shown so far as right."""
        self._written |= seen

    def judge(self, seen: Counter[str], lines: Counter[str]) -> Outcome:
        """What came of a step with these lines; what is wrong is not told again of the next."""
        lost = self.missing(seen)
        outcome = Outcome((seen & lines).total(), (seen - self._written).total(), lost.total())
        self._written |= seen
        self._due -= lost
        return outcome


class Hand:
    """Starts and ends one tailer, and knows what it has shown."""

    def __init__(self, tailer: Tailer, directory: Path, state: Path) -> None:
        self.tailer = tailer
        self.ledger = Ledger()
        self.names = dict(FIRST)  # what it runs over, and the name under which it keeps its state
        self._directory, self._state = directory, state
        self._out = state / "out"
        self._out.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._totals: dict[str, Counter[str]] = {}

    @property
    def seen(self) -> Counter[str]:
        """How often each line was shown so far."""
        return sum(self._totals.values(), lines_of(self._out.read_bytes()))

    def _environment(self, **more: str) -> Mapping[str, str]:
        values = {"DIR": str(self._directory), "STATE": str(self._state), "WORK": str(WORK)}
        return {
            **os.environ,
            "PATH": search_path(),
            "LD_LIBRARY_PATH": _below_work(LIBRARIES),
            "PERL5LIB": _below_work(PERL_LIBRARIES),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "HOME": str(self._state),
            "CONFIG": Template(self.tailer.config).safe_substitute(values),
            **values,
            **more,
        }

    def start(self) -> None:
        """Starts a daemon."""
        environment = self._environment()
        (self._state / "config").write_text(environment["CONFIG"])
        with self._out.open("ab") as out, (self._state / "errors").open("ab") as errors:
            self._process = subprocess.Popen(
                ["bash", "-c", self.tailer.command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                process_group=0,
            )

    def stop(self) -> None:
        """Ends a daemon, if one runs, as a service manager would."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + RUN_SECONDS
        while self._signal(0) and time.monotonic() < deadline:
            self._process.poll()
            time.sleep(LOOK_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _signal(self, number: int) -> bool:
        """Signals all processes of the daemon; whether there was one."""
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def look(self) -> None:
        """Runs what runs and ends over every file."""
        for name, state in self.names.items():
            with (self._state / "errors").open("ab") as errors:
                done = subprocess.run(
                    ["bash", "-c", self.tailer.command],
                    cwd=ROOT,
                    env=self._environment(FEED=str(self._directory / name), NAME=state),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    timeout=RUN_SECONDS,
                    check=False,
                )
            if self.tailer.shows_totals:
                self._totals[state] = lines_of(done.stdout)
            else:
                with self._out.open("ab") as out:
                    out.write(done.stdout)


@contextmanager
def hands(tailers: Sequence[Tailer], world: World, directory: Path) -> Iterator[list[Hand]]:
    """A hand for each tailer; none of them runs on at the end."""
    with ExitStack() as stack:
        made = []
        for number, tailer in enumerate(tailers):
            state = directory / f"state-{number}"
            state.mkdir()
            hand = Hand(tailer, world.path, state)
            stack.callback(hand.stop)
            made.append(hand)
        yield made


class Trial:
    """The steps of the table, for tailers of one kind."""

    def __init__(self, kind: Kind, world: World, made: Sequence[Hand]) -> None:
        self._kind, self._world, self._hands = kind, world, made
        self._is_daemon = kind is not Kind.RUNS
        self._count = 0

    def run(self) -> Iterator[list[Outcome]]:
        """What came of each step, for each hand."""
        self._begin()
        self._world.drop_caches()
        yield self._grow(FIRST)
        self._stop()
        self._world.remount()
        self._start()
        yield self._grow(FIRST)
        for name, new_name in SECOND.items():
            self._world.rename(name, new_name)
        self._quiet()  # rsyslog shows lines again, here and on disk, that come at that moment
        yield self._grow(SECOND)
        yield self._replace()

    def _begin(self) -> None:
        lines = {name: self._lines(name, FIRST_LINES) for name in FIRST}
        for name, first in lines.items():
            self._world.make(name, first)
        self._start()
        self._settle({} if self._kind is Kind.FOLLOWS else lines)

    def _grow(self, names: Mapping[str, str]) -> list[Outcome]:
        """Appends to the files, given as what they were first called and are called now."""
        lines = {first: self._lines(first, MORE_LINES) for first in names}
        for first, more in lines.items():
            self._world.append(names[first], more)
        for hand in self._hands:
            hand.names = {name: first for first, name in names.items()}
        return self._settle(lines, is_renamed=names != FIRST)

    def _replace(self) -> list[Outcome]:
        """New files under the old names; what keeps its state has one of the old files."""
        keeps_state = self._kind is not Kind.FOLLOWS
        if keeps_state:
            self._stop()
        lines = {name: self._lines(name, NEW_LINES) for name in FIRST}
        for name, new in lines.items():
            self._world.make(name, new)
        if keeps_state:
            self._world.remount()
            self._start()
        for hand in self._hands:
            hand.names = dict(FIRST)
        return self._settle(lines)

    def _lines(self, name: str, count: int) -> list[str]:
        self._count += count
        numbers = range(self._count - count, self._count)
        return [f"{LINE_START}/{name}/{number}" for number in numbers]

    def _start(self) -> None:
        """Starts daemons; those that keep nothing watch when they show lines of both files."""
        if not self._is_daemon:
            return
        for hand in self._hands:
            hand.start()
        if self._kind is Kind.FOLLOWS:
            self._warm_up()

    def _warm_up(self) -> None:
        before = self._count
        for _ in range(WARM_LINES):
            for name in FIRST:
                self._world.append(name, self._lines(name, 1))
            time.sleep(WARM_SECONDS)
            if all(self._watches(hand, before) for hand in self._hands):
                break
        self._quiet()
        for hand in self._hands:
            hand.ledger.forgive(hand.seen)

    @staticmethod
    def _watches(hand: Hand, before: int) -> bool:
        """Whether it has shown a line of each file that was written after the first `before`."""
        numbers = (line.removeprefix(LINE_START).split("/")[1:] for line in hand.seen)
        return {name for name, number in numbers if int(number) >= before} == set(FIRST)

    def _stop(self) -> None:
        for hand in self._hands:
            hand.stop()

    def _settle(self, lines: Mapping[str, list[str]], *, is_renamed: bool = False) -> list[Outcome]:
        """Waits until all have shown the lines, and nothing more comes."""
        new = Counter(line for more in lines.values() for line in more)
        for hand in self._hands:
            hand.ledger.enter(new, are_due=not (is_renamed and hand.tailer.watches_names))
            if not self._is_daemon:
                hand.look()
        deadline = time.monotonic() + SHOW_SECONDS
        while self._is_daemon and self._misses_lines() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        self._quiet()
        return [hand.ledger.judge(hand.seen, new) for hand in self._hands]

    def _misses_lines(self) -> bool:
        return any(hand.ledger.missing(hand.seen) for hand in self._hands)

    def _quiet(self) -> None:
        if self._is_daemon:
            time.sleep(QUIET_SECONDS)


def outcomes(tailers: Sequence[Tailer], world: World, directory: Path) -> list[list[Outcome]]:
    """For each of the tailers, which are of one kind, what came of each step."""
    with hands(tailers, world, directory) as made:
        steps = list(Trial(tailers[0].kind, world, made).run())
    return [list(column) for column in zip(*steps, strict=True)]
