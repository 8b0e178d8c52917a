"""Swarms of real DHT nodes on loopback, each a process that is told what to do: three kinds.

`with libtorrent_swarm(20) as swarm: swarm.ask("put", seed=..., text="hello")`. Everything blocks
with a deadline, and the processes always end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from protozorfs.types import Address
from tests.node_peer import JsonLines, talking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "tests" / "peers"
START_SECONDS = 60.0  # of 20 nodes, on a busy machine
UNLIMITED_RATE = 100_000  # packets a second: others have no such limit to be compared with
ANSWER_SECONDS = 40.0  # libtorrent waits 15 s for a node that has left, and so twice for a put


class Answer(TypedDict, total=False):
    """What a node says it has done; the fields that are missing do not concern it."""

    ok: bool
    error: str
    ms: float
    stored: int
    seq: int
    text: str
    first_ms: float
    peers: list[str]
    nodes: int


@dataclass
class Swarm:
    """Nodes in one process.

    Attributes:
        addresses: of the nodes.
    """

    addresses: list[Address]
    process: subprocess.Popen[str]
    lines: JsonLines

    def ask(self, op: str, **fields: str | int) -> Answer:
        """Lets the node at position `node` (0) do something, and waits for what it says."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self.process.stdin.flush()
        answer: Answer = json.loads(self.lines.next(ANSWER_SECONDS))
        return answer

    @property
    def options(self) -> str:
        """The mount options of a node that joins them."""
        return ",".join(f"bootstrap={address}" for address in self.addresses[:3])


def own_swarm(
    count: int, *bootstrap: Address, rate: int = UNLIMITED_RATE
) -> AbstractContextManager[Swarm]:
    """Nodes of ours."""
    command = [sys.executable, "-m", "tests.own_dht", "--count", str(count), "--rate", str(rate)]
    command += ["--host", "127.0.103.1"] if bootstrap else []
    return running(command + [f"--bootstrap={address}" for address in bootstrap])


def libtorrent_swarm(count: int, *bootstrap: Address) -> AbstractContextManager[Swarm]:
    """Nodes of libtorrent."""
    command = [sys.executable, str(PEERS / "libtorrent_dht.py"), str(count)]
    return running(command + [str(address) for address in bootstrap])


def bittorrent_swarm(count: int, *bootstrap: Address) -> AbstractContextManager[Swarm]:
    """Nodes of npm's bittorrent-dht."""
    command = ["node", str(PEERS / "bittorrent_dht.js"), "serve", "--port", "0"]
    command += ["--count", str(count), *(["--host", "127.0.102.1"] if bootstrap else ["--spread"])]
    return running(command + [word for at in bootstrap for word in ("--bootstrap", str(at))])


SWARMS: dict[str, Callable[..., AbstractContextManager[Swarm]]] = {
    "libtorrent": libtorrent_swarm,
    "bittorrent-dht": bittorrent_swarm,
    "ours": own_swarm,
}


@contextmanager
def running(command: Sequence[str]) -> Iterator[Swarm]:
    """A process that obeys JSON lines, from the line that names its nodes on."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with talking(process) as lines:
        nodes = json.loads(lines.next(START_SECONDS))["nodes"]
        addresses = [Address(node["host"], node["port"]) for node in nodes]
        yield Swarm(addresses, process, lines)
