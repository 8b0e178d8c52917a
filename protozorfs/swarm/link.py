"""How one peer does at one feed: how much to ask of it, and whether it still answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protozorfs.swarm.trust import FIRST_DISTRUST_SECONDS, MAX_CREDIT, MAX_DISTRUST_SECONDS

if TYPE_CHECKING:
    from protozorfs.log.proof_types import Proof
    from protozorfs.swarm.trust import Trust
    from protozorfs.wire.replication import Refused, Replica

MIN_WINDOW_BYTES = 256 * 1024  # asked of a peer whose speed is not known yet
MAX_WINDOW_BYTES = 4 * 1024 * 1024  # 64 blocks of 64 KiB; more does not make a local link faster
WINDOW_SECONDS = 0.5  # of its rate are asked ahead: what a reader then wants comes as soon
MIN_WINDOW_BLOCKS = 4
MAX_WINDOW_BLOCKS = 256  # a quarter of what one peer lets another queue
RATE_SECONDS = 0.25  # over which the rate is measured
ANSWER_SECONDS = 10.0  # without any answer: the peer is slow or gone
MIN_REST_SECONDS = 5.0  # until a peer that stalled is asked again; doubles each time
MAX_REST_SECONDS = 120.0
MAX_SPOILED = 1024  # blocks it gave wrong that are asked of it again; more only if it tells them
MAX_REFUSALS = 64  # answers "no data" in a row: it announces what it does not have


class LinkConnection(Protocol):
    """The connection below a link."""

    def wake(self) -> None:
        """There may be something to send."""

    def drop(self, error: Exception) -> None:
        """Ends it for a fault of the peer's."""


class Link:
    """What the replicator remembers of one peer of its feed."""

    def __init__(
        self,
        replica: Replica,
        name: str,
        connection: LinkConnection,
        source: str,
        trust: Trust,
        *,
        given_length: int = 0,
    ) -> None:
        """
        Args:
            source: what the peer is known by when it comes again.
            given_length: how much of our history the peer has from us already.
        """
        self.replica = replica
        self.name = name
        self.source = source
        self.trust = trust
        self.drop = connection.drop
        self.wake = connection.wake
        self.told_length = -1
        self.trusts_order = True  # answers come in the order of the requests
        self.is_late = False  # it was asked for the newest head, and others are asked as well
        self.forks_asked: set[int] = set()  # later than ours, of which the proof was asked for
        self.was_shown_conflict = False
        self.same_length = given_length  # so far it has our history, or was asked whether it has
        self.proven_length = 0  # of the longest head of our fork that it has shown us
        self.histories_asked = 0  # because of something bad
        self._spoiled: set[int] = set()  # blocks that it gave wrong
        self._spoiled_until = 0.0
        self._spoiled_seconds = FIRST_DISTRUST_SECONDS
        self._rate = 0.0  # bytes per second
        self._counted_bytes = 0
        self._counted_since = 0.0
        self._waiting_since = 0.0  # for the next answer
        self.is_resting = False
        self._resting_until = 0.0
        self._rest_seconds = MIN_REST_SECONDS

    def gave_bad(self, block: int | None, error: Exception, now: float) -> bool:
        """An answer to a request for a block, or for none, was bad; False if that was known.

        The block is not asked of it for a while, nor anything else if there were too many.
        """
        if block is None:
            return self.trust.bad(error, MAX_CREDIT, now)
        self.replica.remote_held.clear_range(block, block + 1)
        if len(self._spoiled) < MAX_SPOILED:
            if not self._spoiled:
                self._spoiled_until = now + self._spoiled_seconds
                self._spoiled_seconds = min(MAX_DISTRUST_SECONDS, 2 * self._spoiled_seconds)
            self._spoiled.add(block)
        return self.trust.bad(error, 1, now)

    def may_ask(self, now: float) -> bool:
        """It is worth asking it anything."""
        remote = self.replica.remote
        return (
            remote.is_known
            and remote.is_uploading
            and now >= max(self._resting_until, self.trust.rests_until)
            and self.replica.refusals < MAX_REFUSALS
        )

    def trouble(self, now: float, fork: int) -> str:
        """Why it is not asked anything of that fork, as the end of a sentence; empty if it is."""
        remote = self.replica.remote
        if not remote.is_known:
            return "has not told its state yet"
        if now < self.trust.rests_until:
            seconds = self.trust.rests_until - now
            why = f"has sent something invalid ({self.trust.error})"
            return f"{why}, so that it is left alone for {seconds:.0f} s"
        if remote.fork != fork:
            return f"is at another fork ({remote.fork})"
        if not remote.is_uploading:
            return "does not give anything"
        if self.replica.refusals >= MAX_REFUSALS:
            return "does not have what it announces"
        if now < self._resting_until:
            return (
                f"does not answer, so that it is left alone for {self._resting_until - now:.0f} s"
            )
        return ""

    def window(self, length: int, byte_length: int) -> int:
        """How many blocks may be under way at once."""
        if not self.trust.is_full:
            return self.trust.credit
        block_bytes = max(1, byte_length // max(1, length))
        window_bytes = min(MAX_WINDOW_BYTES, MIN_WINDOW_BYTES + self._rate * WINDOW_SECONDS)
        return int(min(MAX_WINDOW_BLOCKS, max(MIN_WINDOW_BLOCKS, window_bytes // block_bytes)))

    def low_water(self) -> int:
        """Below so much room nothing is asked yet: requests go in groups, which costs less."""
        return 0 if len(self.replica.in_flight) < MIN_WINDOW_BLOCKS * 4 else 15

    def asked(self, now: float) -> None:
        """A request goes out."""
        if not self.replica.in_flight:
            self._waiting_since = now
            self._counted_bytes = 0
            self._counted_since = now

    def answered(self, proof: Proof, now: float) -> None:
        """A good answer came."""
        self.trust.good()
        self._waiting_since = now
        self._rest_seconds = MIN_REST_SECONDS
        if proof.block is not None:
            self._counted_bytes += len(proof.block.value)
        elapsed = now - self._counted_since
        if elapsed >= RATE_SECONDS:
            self._rate = (self._rate + self._counted_bytes / elapsed) / 2
            self._counted_bytes = 0
            self._counted_since = now

    def refused(self, refused: Refused, now: float) -> None:
        """It does not have what was asked: it is not asked for that again until it says so."""
        block = refused.sent.request.block
        if block is not None:
            self.replica.remote_held.clear_range(block.block_index, block.block_index + 1)
        if refused.sent.request.upgrade is not None:
            self.rest(now)

    def is_stalled(self, now: float) -> bool:
        """It has been asked and has said nothing for too long."""
        return bool(self.replica.in_flight) and now - self._waiting_since >= ANSWER_SECONDS

    def rest_until(self, now: float) -> None:
        """Notes the time: its rest may be over, or it may be asked again for what it gave wrong."""
        if self._spoiled and now >= self._spoiled_until:
            for block in self._spoiled:
                self.replica.remote_held.set_range(block, block + 1)
            self._spoiled.clear()
        self.is_resting = bool(self._spoiled) or now < max(
            self._resting_until, self.trust.rests_until
        )

    def rest(self, now: float) -> None:
        """Leaves it alone for a while."""
        self.is_resting = True
        self._resting_until = now + self._rest_seconds
        self._rest_seconds = min(MAX_REST_SECONDS, self._rest_seconds * 2)
        self._rate = 0.0
