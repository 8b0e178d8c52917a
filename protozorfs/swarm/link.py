"""How one peer does at one feed: how much to ask of it, and whether it still answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from protozorfs.log.proof_types import Proof
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
        self, replica: Replica, name: str, connection: LinkConnection, *, given_length: int = 0
    ) -> None:
        """`given_length`: how much of our history the peer has from us already."""
        self.replica = replica
        self.name = name
        self.drop = connection.drop
        self.wake = connection.wake
        self.told_length = -1
        self.trusts_order = True  # answers come in the order of the requests
        self.is_late = False  # it was asked for the newest head, and others are asked as well
        self.forks_asked: set[int] = set()  # later than ours, of which the proof was asked for
        self.was_shown_conflict = False
        self.same_length = given_length  # so far it has our history, or was asked whether it has
        self.proven_length = 0  # of the longest head of our fork that it has shown us
        self.condemned: Exception | None = None
        self.condemned_until = 0.0
        self._rate = 0.0  # bytes per second
        self._counted_bytes = 0
        self._counted_since = 0.0
        self._waiting_since = 0.0  # for the next answer
        self.is_resting = False
        self._resting_until = 0.0
        self._rest_seconds = MIN_REST_SECONDS

    def condemn(self, error: Exception, until: float) -> None:
        """It is to be dropped, at the latest at `until`."""
        self.condemned = error
        self.condemned_until = until

    def may_ask(self, now: float) -> bool:
        """It is worth asking it anything."""
        remote = self.replica.remote
        return (
            remote.is_known
            and remote.is_uploading
            and not self.condemned
            and now >= self._resting_until
            and self.replica.refusals < MAX_REFUSALS
        )

    def trouble(self, now: float, fork: int) -> str:
        """Why it is not asked anything of that fork, as the end of a sentence; empty if it is."""
        remote = self.replica.remote
        if not remote.is_known:
            return "has not told its state yet"
        if self.condemned:
            return f"has sent something invalid ({self.condemned})"
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
        """Notes the time: its rest may be over."""
        self.is_resting = now < self._resting_until

    def rest(self, now: float) -> None:
        """Leaves it alone for a while."""
        self.is_resting = True
        self._resting_until = now + self._rest_seconds
        self._rest_seconds = min(MAX_REST_SECONDS, self._rest_seconds * 2)
        self._rate = 0.0
