"""Real Node hypercore peers as context managers: a writer, and a reader that has only the ID.

Everything blocks with a deadline; from trio, call it in a thread. The processes are always killed.
"""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypedDict

from protozorfs.types import Address, FeedId

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NEWEST = "11.39.5"
OLDER = ("11.37.1", "11.0.20", "10.38.2")  # installed beside it, as hypercore-VERSION
VERSIONS = (NEWEST, *OLDER)
PEER_SCRIPT = Path(__file__).parent / "peers" / "hypercore_peer.js"
LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0  # Node loads in 0.3 s on an idle machine
ANSWER_SECONDS = 30.0
STOP_SECONDS = 5.0


def generated_block(index: int, size: int) -> bytes:
    """Block `index` of a feed that a writer generates: see the head of the script."""
    return bytes((index * 131 + at * 17 + (at >> 8) * 7) & 255 for at in range(size))


class Description(TypedDict, total=False):
    """One JSON line of a writer: after start (with key and port) and after each append."""

    key: str
    discoveryKey: str
    port: int | None
    length: int
    byteLength: int
    fork: int
    treeHash: str
    signature: str
    remoteContiguousLength: int | None  # since hypercore 11.1


class Figures(TypedDict, total=False):
    """What a reader says at its end."""

    blocks: int
    bytes: int
    sizes: list[int]
    seconds: float
    length: int
    fork: int
    invalid: int
    conflict: bool
    treeHash: str
    error: str
    timeout: bool
    index: int
    offset: int
    remoteContiguousLength: int | None


class JsonLines:
    """The JSON lines that a process writes, read by a thread so that waiting has a deadline."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._other: list[str] = []
        self._thread = threading.Thread(target=self._pump, args=(stream,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits until the process has closed the stream."""
        self._thread.join()

    def next(self, timeout_seconds: float) -> str:
        """The next line that is JSON.

        Raises:
            AssertionError: none came in time, or the process ended first.
        """
        try:
            line = self._lines.get(timeout=timeout_seconds)
        except queue.Empty:
            raise AssertionError(f"no answer of the Node peer in {timeout_seconds} s") from None
        if line is None:
            self._lines.put(None)
            raise AssertionError(f"the Node peer ended: {''.join(self._other)}")
        return line

    def _pump(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if line.startswith("{"):
                    self._lines.put(line)
                else:
                    self._other.append(line)
        self._lines.put(None)


@dataclass
class NodeWriter:
    """A running writer.

    Attributes:
        feed_id: of the feed it owns, made from its seed.
        address: where it listens; None when it only dials.
        length: as of its last line.
    """

    feed_id: FeedId
    address: Address | None
    process: subprocess.Popen[str]
    description: Description
    lines: JsonLines

    @property
    def length(self) -> int:
        return self.description["length"]

    def append(self, line: str) -> Description:
        """Appends one line, without its newline, as one block; returns the new state."""
        self._say(line)
        return self.wait_length(self.length + 1)

    def truncate(self, length: int) -> Description:
        """Cuts the feed to its first blocks, which raises its fork; returns the new state."""
        fork = self.description["fork"]
        self._say(f"!truncate {length}")
        while self.description["fork"] == fork:
            self.description = json.loads(self.lines.next(ANSWER_SECONDS))
        return self.description

    def _say(self, line: str) -> None:
        say(self.process, line)

    def wait_others_hold(self, length: int, timeout_seconds: float = ANSWER_SECONDS) -> None:
        """Waits until it knows that somebody else holds so many blocks, from the first on."""
        while self.description["remoteContiguousLength"] != length:
            self.description = json.loads(self.lines.next(timeout_seconds))

    def wait_length(self, length: int, timeout_seconds: float = ANSWER_SECONDS) -> Description:
        """Waits until its feed has that many blocks."""
        while self.length < length:
            self.description = json.loads(self.lines.next(timeout_seconds))
        return self.description


@contextmanager
def node_writer(
    seed: bytes,
    *,
    connect: Sequence[Address] = (),
    host: str = LOOPBACK,
    port: int | None = None,
    blocks: int = 0,
    block_bytes: int = 64,
    append_every_ms: int | None = None,
    append_max: int | None = None,
    evil: str | None = None,
    version: str = NEWEST,
) -> Iterator[NodeWriter]:
    """A Node peer that owns the feed of a 32-byte seed and serves it.

    It dials the addresses of `connect`, and listens when there are none or a port is given.
    Two writers of one seed and the same blocks have the same log: a restart.
    """
    command = ["serve", "--seed", seed.hex(), "--stdin-lines", "--host", host]
    command += ["--blocks", str(blocks), "--block-bytes", str(block_bytes)]
    command += _option("append-every", append_every_ms) + _option("append-max", append_max)
    command += _option("evil", evil) + _option("port", port) + _connect(connect)
    command += _version(version)
    with _running(command) as (process, lines):
        description: Description = json.loads(lines.next(START_SECONDS))
        listens = description.get("port")
        yield NodeWriter(
            feed_id=FeedId(bytes.fromhex(description["key"])),
            address=None if listens is None else Address(host, listens),
            process=process,
            description=description,
            lines=lines,
        )


@dataclass
class NodeReader:
    """A running reader.

    Attributes:
        address: where it listens and serves what it has; None when it only dials.
    """

    address: Address | None
    process: subprocess.Popen[str]
    lines: JsonLines
    out: Path
    _figures: Figures | None = field(default=None, init=False)

    def figures(self, timeout_seconds: float = ANSWER_SECONDS) -> Figures:
        """Waits for its figures; it may go on serving after them (`linger_ms`)."""
        if self._figures is None:
            self._figures = json.loads(self.lines.next(timeout_seconds))
        return self._figures

    def get(self, index: int, timeout_seconds: float = ANSWER_SECONDS) -> Figures:
        """Reads one more block, if it was made with `gets`; returns what it knows then."""
        say(self.process, str(index))
        figures: Figures = json.loads(self.lines.next(timeout_seconds))
        assert figures["index"] == index
        return figures

    def received(self) -> bytes:
        """The blocks it has written so far, one after another."""
        return self.out.read_bytes()

    def wait(self, timeout_seconds: float = ANSWER_SECONDS) -> int:
        """Waits for its end; returns its exit status: 0 complete, 3 a block failed
        verification, 4 timeout, 5 conflict."""
        return self.process.wait(timeout_seconds)


@contextmanager
def node_reader(
    feed_id: FeedId,
    *,
    connect: Sequence[Address] = (),
    host: str = LOOPBACK,
    port: int | None = None,
    length: int | None = None,
    get: Sequence[int] | None = None,
    seek: int | None = None,
    gets: bool = False,
    live: bool = False,
    timeout_seconds: float = ANSWER_SECONDS,
    linger_ms: int | None = None,
    version: str = NEWEST,
) -> Iterator[NodeReader]:
    """A Node peer that reads a feed of which it has only the ID.

    It reads `length` blocks (None: what there is when it meets the first head), the blocks `get`,
    what follows the byte `seek`, or with `gets` what `NodeReader.get` is called for. It dials and
    listens like `node_writer`.
    """
    with tempfile.TemporaryDirectory(prefix="node-reader-") as directory:
        out = Path(directory, "blocks")
        out.touch()
        command = ["read", "--key", feed_id.hex(), "--out", str(out), "--sizes", "--host", host]
        command += ["--timeout", str(timeout_seconds), *_option("length", length)]
        command += ["--live"] if live else []
        command += ["--stdin-gets"] if gets else []
        command += _version(version)
        command += _option("get", None if get is None else ",".join(map(str, get)))
        command += _option("seek", seek) + _option("linger", linger_ms)
        command += _option("port", port) + _connect(connect)
        with _running(command) as (process, lines):
            address = None
            if port is not None or not connect:
                hello = json.loads(lines.next(START_SECONDS))
                address = Address(host, hello["port"])
            yield NodeReader(address, process, lines, out)


def say(process: subprocess.Popen[str], line: str) -> None:
    """Writes one line to a process's standard input."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _version(version: str) -> list[str]:
    return [] if version == NEWEST else ["--hypercore", version]


def _option(name: str, value: int | str | None) -> list[str]:
    return [] if value is None else [f"--{name}", str(value)]


def _connect(addresses: Sequence[Address]) -> list[str]:
    return ["--connect", ",".join(map(str, addresses))] if addresses else []


@contextmanager
def _running(arguments: list[str]) -> Iterator[tuple[subprocess.Popen[str], JsonLines]]:
    """The peer script as a process; it removes its files when it ends."""
    process = subprocess.Popen(
        ["node", str(PEER_SCRIPT), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # a writer's lines are on the one, a reader's on the other
        text=True,
    )
    with talking(process) as lines:
        yield process, lines


@contextmanager
def talking(process: subprocess.Popen[str]) -> Iterator[JsonLines]:
    """What a process says in JSON lines; it is ended by SIGTERM, if need be killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    lines = JsonLines(process.stdout)
    try:
        yield lines
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        lines.join()
