"""Write tokens: proof that whoever stores something was asked back at its address.

A token is good for one IP address and one target, so that one host cannot fill a node with what it
learned once. Source: BEP 5 "Contact Encoding", BEP 44.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto

if TYPE_CHECKING:
    from protozorfs.dht.node_id import RandomSource

TOKEN_BYTES = 8
SECRET_BYTES = 32
ROTATION_INTERVAL = 300.0  # seconds; BEP 5. A token lives one to two of them


class Tokens:
    """Makes and checks this node's tokens."""

    def __init__(self, random: RandomSource, now: float) -> None:
        self._random = random
        self._current = random.randbytes(SECRET_BYTES)
        self._previous = random.randbytes(SECRET_BYTES)
        self._rotate_at = now + ROTATION_INTERVAL

    def make(self, ip: bytes, target: bytes, now: float) -> bytes:
        """The token for a host and a 20-byte target."""
        self._rotate(now)
        return _token(self._current, ip, target)

    def is_valid(self, token: bytes, ip: bytes, target: bytes, now: float) -> bool:
        """True for a token that `make` gave to that host for that target not long ago."""
        self._rotate(now)
        return crypto.equal(token, _token(self._current, ip, target)) or crypto.equal(
            token, _token(self._previous, ip, target)
        )

    def _rotate(self, now: float) -> None:
        """Replaces the secret when its time is over; after a long pause both are replaced."""
        if now < self._rotate_at:
            return
        long_pause = now >= self._rotate_at + ROTATION_INTERVAL
        self._previous = self._random.randbytes(SECRET_BYTES) if long_pause else self._current
        self._current = self._random.randbytes(SECRET_BYTES)
        self._rotate_at = now + ROTATION_INTERVAL


def _token(secret: bytes, ip: bytes, target: bytes) -> bytes:
    return crypto.blake2b_256(ip + target, key=secret)[:TOKEN_BYTES]
