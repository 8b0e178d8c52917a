"""A mount that gets the blocks of a feed one by one, as a test lets them pass.

Three real mounts in a chain: the owner's, a gate that fetches only what it is told to, and a reader
that knows nobody but the gate. The reader fetches feeds whole, so it soon has what the gate has.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.e2e.stage import at, follow, free_port, id_of, number, options, wait_size, wait_until
from tests.mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from protozorfs.types import Address
    from tests.mounts import Mount

GATE = [sys.executable, "-m", "tests.gate_mount"]


class Gated:
    """The three mounts."""

    def __init__(self, owner: Mount, gate: Mount, reader: Mount) -> None:
        self.owner = owner
        self.gate = gate
        self.reader = reader

    def new_feed(self, name: str) -> GatedFeed:
        """A feed of that name, yet to be made."""
        return GatedFeed(*(mount.path / name for mount in (self.owner, self.gate, self.reader)))

    @contextmanager
    def feed(
        self, blocks: Sequence[bytes], held: Collection[int], *, name: str = "f"
    ) -> Iterator[GatedFeed]:
        """A feed of these blocks, of which the reader holds some, by their index.

        It is removed at the end, unless the body fails: mounts may not answer then.
        """
        feed = self.new_feed(name)
        feed.make(blocks, held)
        yield feed
        feed.remove()


class GatedFeed:
    """One feed in the three mounts.

    Attributes:
        path: its file in the reader's mount.
        ends: where each block ends.
        missing: the blocks that have not passed the gate.
    """

    def __init__(self, owned: Path, gated: Path, path: Path) -> None:
        self._owned = owned
        self._gated = gated
        self.path = path
        self.ends: list[int] = []
        self.missing: set[int] = set()

    def make(self, blocks: Sequence[bytes], held: Collection[int]) -> None:
        """Makes it in all three; returns when the reader knows of all blocks and holds those."""
        for block in blocks:
            self.append(block)
        feed_id = id_of(self._owned)
        for path in (self._gated, self.path):
            wait_size(follow(feed_id, path), self.ends[-1])
        for index in sorted(held):
            self.let_pass(index)
        expected = sum(self.ends[index] - self.start(index) for index in held)
        wait_until(lambda: number(self.path, "local") >= expected)
        assert number(self.path, "local") == expected

    def start(self, index: int) -> int:
        """Where a block begins."""
        return self.ends[index - 1] if index else 0

    def append(self, block: bytes) -> None:
        """Appends a block of 1 to 64 KiB, which the owner alone has at first."""
        with self._owned.open("ab", buffering=0) as file:
            file.write(block)
        self.missing.add(len(self.ends))
        self.ends.append((self.ends[-1] if self.ends else 0) + len(block))

    def let_pass(self, index: int) -> None:
        """Lets the gate fetch a block, and so the reader."""
        wait_size(self._gated, self.ends[index])
        # By its index: to find a byte, blocks are guessed, and those that were wrong pass as well.
        with (self._gated.parent / ".live" / f"{self._gated.name}@{index}").open("rb", 0) as view:
            assert view.read(1)
        self.missing.discard(index)

    def remove(self) -> None:
        """Removes it everywhere, so that the next feed may have its name."""
        for path in (self.path, self._gated):
            path.unlink(missing_ok=True)
        if self._owned.exists():
            feed_id = os.getxattr(self._owned, "protozorfs.id")
            os.setxattr(self._owned, "protozorfs.delete_key", feed_id)


@contextmanager
def gated(directory: Path, *, watchdog_seconds: float) -> Iterator[Gated]:
    """The chain, all of it on loopback."""
    ports = [free_port() for _ in range(3)]
    with ExitStack() as stack:

        def mount(name: str, port: int, *peers: Address, sparse: bool = False) -> Mount:
            settings = options(port, *peers, more=["sparse"] if sparse else [])
            command = GATE if sparse else None
            arguments = (directory, "-o", settings)
            return stack.enter_context(
                mounted(*arguments, command=command, name=name, watchdog_seconds=watchdog_seconds)
            )

        owner = mount("owner", ports[0])
        gate = mount("gate", ports[1], at(ports[0]), sparse=True)
        yield Gated(owner, gate, mount("reader", ports[2], at(ports[1])))
