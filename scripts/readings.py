"""Has programs read feeds of which parts are missing, and says of each if it was misled.

The network brings the missing blocks while the program waits, one by one in random order; under
`GROWS` the feed grows meanwhile. Under `LOCAL` nothing is brought.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.crypto import SEED_BYTES, key_pair, random_bytes
from scripts.contents import MAKERS, SIZE
from scripts.readers import RUST
from scripts.verdicts import Ran, StuckError, Verdict, run_program, verdict_of
from scripts.web import served
from tests.e2e.gated import GatedFeed, gated
from tests.e2e.stage import free_port, options
from tests.memory_control import Control
from tests.mounts import memory_command, mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from scripts.readers import Program
    from tests.e2e.gated import Gated
    from tests.mounts import Mount

LAYOUTS = ("nothing", "beginning", "end", "random")
GROWS = "grows"
LOCAL = "local"
COLUMNS = (*LAYOUTS, GROWS, LOCAL)
PROGRAM_SECONDS = 30.0  # on a busy machine; most take 0.1 s
CELL_SECONDS = 150.0  # a mount that does not answer is ended then
WAITING_SECONDS = 0.3  # within which a program comes to a byte that is missing, if it does
PAUSE_SECONDS = 0.004  # between two blocks at most
WATCHDOG_SECONDS = 3000.0
BLOCK_BYTES = (4 * 1024, 64 * 1024)  # limits of small and of large ones; the last are small
SHARE = 0.4  # of a feed that is here at first
SHARE_BEFORE = 0.7  # of one that grows that is known at first
FAILURES = (AssertionError, OSError, StuckError, TimeoutError)  # of a mount, not of a program


@dataclass(frozen=True, slots=True)
class Content:
    """What a feed will hold, and a plain file with the same."""

    data: bytes
    blocks: list[bytes]
    path: Path


class Plain:
    """Programs on a plain file, run once for each length."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self._ran: dict[tuple[str, int], Ran] = {}

    def run(
        self, program: Program, content: Content, length: int, environment: dict[str, str]
    ) -> Ran:
        key = (program.command, length)
        if key not in self._ran:
            (self.path / "f").write_bytes(content.data[:length])
            self._ran[key] = run_program(program, self.path, environment, PROGRAM_SECONDS)
        return self._ran[key]


class Bench:
    """What all programs are run with.

    Attributes:
        here: the mount that they are run in.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self._seed = seed
        self._plain = Plain(directory / "plain")
        self._plain.path.mkdir()
        self._contents: dict[str, Content] = {}
        self._web = ""

    @contextmanager
    def serving(self, here: Path) -> Iterator[None]:
        """nginx for the mount and the plain directory."""
        files = Path(tempfile.mkdtemp(dir=self.directory))
        with served(files, {"here": here, "plain": self._plain.path}) as self._web:
            yield

    def content(self, kind: str) -> Content:
        """What feeds of that kind hold, cut into blocks of random sizes."""
        if kind not in self._contents:
            rng = self.random(kind)
            data, blocks, at = MAKERS[kind](rng), [], 0
            while at < len(data):
                limit = min(rng.choice(BLOCK_BYTES), max(1000, (len(data) - at) // 2))
                blocks.append(data[at : at + rng.randint(1, limit)])
                at += len(blocks[-1])
            path = self.directory / kind
            path.write_bytes(data)
            self._contents[kind] = Content(data, blocks, path)
        return self._contents[kind]

    def random(self, *names: str) -> random.Random:
        return random.Random("/".join([str(self._seed), *names]))

    def judge(
        self,
        program: Program,
        here: Path,
        lengths: Callable[[], Sequence[int]],
        during: Callable[[], None] | None = None,
    ) -> Verdict:
        """Runs a program in the mount and compares it with a plain file of one of the lengths."""
        content = self.content(program.content)
        environment = self._environment(content, "here")
        ran = run_program(program, here, environment, PROGRAM_SECONDS)
        if during is not None:
            during()

        def plain(length: int) -> Ran:
            environment = self._environment(content, "plain")
            return self._plain.run(program, content, length, environment)

        return verdict_of(program, ran, lengths(), plain, content.data)

    def ends_well(self, program: Program, broken: Path) -> bool:
        """Whether it does so although reads of `f` fail."""
        environment = self._environment(self.content(program.content), "here")
        return run_program(program, broken, environment, PROGRAM_SECONDS).code in program.answers

    def _environment(self, content: Content, where: str) -> dict[str, str]:
        out = self.directory / f"out-{where}"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return os.environ | {
            "ALL": str(content.path),
            "BORG_BASE_DIR": str(self.directory / "borg"),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            "LENGTH": str(len(content.data)),
            "OUT": str(out),
            "RESTIC_PASSWORD": "none",
            "RESTIC_CACHE_DIR": str(out / "cache"),
            "RUST": RUST,
            "TERM": "dumb",
            "WEB": f"{self._web}/{where}",
        }


class Bringer:
    """Brings what is missing of a feed, and lets it grow, while a program reads it."""

    def __init__(self, feed: GatedFeed, more: Sequence[bytes], rng: random.Random) -> None:
        self._feed = feed
        self._more = list(more)
        self._rng = rng
        self._ended = threading.Event()

    def end(self) -> None:
        """The program has ended: nothing more is needed."""
        self._ended.set()

    def run(self) -> None:
        """Waits for the program to wait, then brings one block after another."""
        deadline = time.monotonic() + WAITING_SECONDS
        while not (self._is_waited_for() or self._ended.is_set() or time.monotonic() > deadline):
            time.sleep(PAUSE_SECONDS)
        while not self._ended.wait(self._rng.uniform(0, PAUSE_SECONDS)):
            missing = sorted(self._feed.missing)
            if self._more and (not missing or self._rng.random() < 0.5):
                self._feed.append(self._more.pop(0))
            elif missing:
                self._feed.let_pass(self._rng.choice(missing))
            else:
                return

    def _is_waited_for(self) -> bool:
        progress = self._feed.path.parent / ".protozorfs" / "feeds" / self._feed.path.name
        return "waiting 0\n" not in (progress / "progress").read_text()


def held_at_first(layout: str, count: int, rng: random.Random) -> set[int]:
    """The blocks that are here before a program begins."""
    some = max(1, int(count * SHARE))
    match layout:
        case "nothing":
            return set()
        case "beginning":
            return set(range(some))
        case "end":
            return set(range(count - some, count))
    return set(rng.sample(range(count), some))


@contextmanager
def guarded(*mounts: Mount) -> Iterator[None]:
    """Ends every wait in the mounts when the body takes too long, and when it fails."""

    def abort() -> None:
        for mount in mounts:
            mount.abort()

    timer = threading.Timer(CELL_SECONDS, abort)
    timer.start()
    try:
        yield
    except BaseException:
        abort()
        raise
    finally:
        timer.cancel()


def read_in_chain(bench: Bench, chain: Gated, program: Program, layout: str) -> Verdict:
    """One cell: the rest comes while the program reads."""
    content = bench.content(program.content)
    rng = bench.random(program.command, layout)
    count = len(content.blocks)
    if layout == GROWS:
        count = max(1, int(count * SHARE_BEFORE))
    held = held_at_first(layout, count, rng)
    mounts = chain.owner, chain.gate, chain.reader
    with (
        guarded(*mounts),
        chain.feed(content.blocks[:count], held) as feed,
        ThreadPoolExecutor(1) as pool,
        guarded(*mounts),  # before the pool waits for its thread
    ):
        bringer = Bringer(feed, content.blocks[count:] if layout == GROWS else (), rng)
        running = pool.submit(bringer.run)

        def end() -> None:
            bringer.end()
            running.result(timeout=PROGRAM_SECONDS)

        def lengths() -> list[int]:
            known = feed.ends[count - 1 :]
            return list(dict.fromkeys([known[-1], known[0], *known]))

        try:
            return bench.judge(program, chain.reader.path, lengths, end)
        finally:
            bringer.end()


@dataclass(frozen=True, slots=True)
class Local:
    """A mount with `local` of feeds KIND-LAYOUT; and a directory in which reads of `f` give EIO."""

    mount: Mount
    broken: Path


def read_in_local(bench: Bench, local: Local, program: Program) -> Verdict:
    """The last cell, of all layouts: what is missing stays so."""
    found = [_read_in_local(bench, local, program, layout) for layout in LAYOUTS]
    wrong = [verdict.text for verdict in found if verdict.is_wrong]
    texts = dict.fromkeys(wrong or sorted(verdict.text for verdict in found))
    return Verdict(", ".join(texts), " / ".join(verdict.said for verdict in found))


def _read_in_local(bench: Bench, local: Local, program: Program, layout: str) -> Verdict:
    directory = local.mount.path
    path, here = directory / f"{program.content}-{layout}", directory / "f"
    lengths = [len(bench.content(program.content).data)]
    try:
        with guarded(local.mount):
            path.rename(here)
            verdict = bench.judge(program, directory, lengths.copy)
            here.rename(path)
    except FAILURES as error:
        return _failed(error)
    if verdict.is_wrong and bench.ends_well(program, local.broken):
        return Verdict("ignores errors", verdict.said)
    return verdict


def _failed(error: Exception) -> Verdict:
    return Verdict(f"WRONG: {type(error).__name__}", str(error))


class ChainRuns:
    """The cells of all programs but the last, in a chain that is made anew when it breaks."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stack = ExitStack()
        self._chain: Gated | None = None
        self._count = 0

    def __enter__(self) -> ChainRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, program: Program, layout: str) -> Verdict:
        """One cell."""
        chain = self._chain or self._start()
        try:
            return read_in_chain(self._bench, chain, program, layout)
        except FAILURES as error:
            self._break()
            return _failed(error)

    def _start(self) -> Gated:
        self._count += 1
        directory = self._bench.directory / f"chain{self._count}"
        directory.mkdir()
        self._chain = self._stack.enter_context(gated(directory, watchdog_seconds=WATCHDOG_SECONDS))
        self._stack.enter_context(self._bench.serving(self._chain.reader.path))
        return self._chain

    def _break(self) -> None:
        with suppress(Exception):
            self._stack.close()
        self._chain = None


@contextmanager
def opened_local(bench: Bench, kinds: Collection[str]) -> Iterator[Local]:
    """Feeds of these kinds, made by a chain that then goes away."""
    directory = bench.directory / "local"
    directory.mkdir()
    with gated(directory, watchdog_seconds=WATCHDOG_SECONDS) as chain:
        for kind in kinds:
            blocks = bench.content(kind).blocks
            for layout in LAYOUTS:
                held = held_at_first(layout, len(blocks), bench.random(kind, layout))
                chain.new_feed(f"{kind}-{layout}").make(blocks, held)
    settings = options(free_port(), more=["local"])
    with (
        broken_file(directory) as broken,
        mounted(
            *(directory, "-o", settings), name="reader", watchdog_seconds=WATCHDOG_SECONDS
        ) as mount,
        bench.serving(mount.path),
    ):
        yield Local(mount, broken)


@contextmanager
def broken_file(directory: Path) -> Iterator[Path]:
    """A directory with a file `f` of which the first half alone can be read."""
    command = memory_command()
    with mounted(
        directory, command=command, name="broken", watchdog_seconds=WATCHDOG_SECONDS
    ) as mount:
        (mount.path / "f").symlink_to(key_pair(random_bytes(SEED_BYTES)).public_key.hex())
        control = Control(mount.store / "control")
        control("stage", "f", pattern=SIZE, held=False)
        control("hold", "f", count=SIZE // 2)
        control("set", "f", is_damaged=True, sound_bytes=SIZE // 2)
        control.close()
        yield mount.path


def verdicts(
    bench: Bench, cells: Sequence[tuple[Program, str]]
) -> Iterator[tuple[Program, str, Verdict]]:
    """Those of all cells, each of which is a program and a column; the last column comes last."""
    with ChainRuns(bench) as chain:
        for program, column in cells:
            if column != LOCAL:
                yield program, column, chain.run(program, column)
    in_local = [program for program, column in cells if column == LOCAL]
    if in_local:
        with opened_local(bench, sorted({program.content for program in in_local})) as local:
            for program in in_local:
                yield program, LOCAL, read_in_local(bench, local, program)
