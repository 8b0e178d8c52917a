"""What a hostile peer and the user of the node beside it may do next; hypothesis chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from protozorfs.log.proof_types import (
    BlockProof,
    BlockRequest,
    HashProof,
    HashRequest,
    Proof,
    Request,
    SeekProof,
    SeekRequest,
    UpgradeProof,
    UpgradeRequest,
)
from protozorfs.types import MAX_SAFE_INTEGER, TreeHash, TreeIndex, TreeNode
from protozorfs.wire import messages as m

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FEEDS = 4  # feeds that the peer knows, by number
EDGES = [2**21 - 1, 2**21, 2**21 + 32, 2**32, 2**52 - 1, 2**52, 2**52 + 1, MAX_SAFE_INTEGER]

numbers = st.one_of(st.integers(0, 40), st.sampled_from(EDGES), st.integers(0, MAX_SAFE_INTEGER))
words = st.one_of(numbers.map(lambda number: min(number // 32 * 32, 2**53 - 2**22)))
hashes = st.binary(min_size=32, max_size=32).map(TreeHash)
nodes = st.lists(st.builds(TreeNode, numbers.map(TreeIndex), numbers, hashes), max_size=6)
node_lists = nodes.map(tuple)


class Message(NamedTuple):
    """A message of a feed's channel; `cut` and `flip` are bytes to damage, if they are there."""

    type: int
    body: bytes


class Send(NamedTuple):
    """Messages on the channel of a feed, or on a channel of that number."""

    feed: int
    channel: int | None
    messages: list[Message]
    is_batch: bool


class Open(NamedTuple):
    """Opens a channel. `step`: how the id relates to the next one that is free."""

    feed: int
    step: int
    protocol: bytes
    is_honest: bool
    more: bytes


class Control(NamedTuple):
    """A close (3) or reject (2) of a channel, or of what was opened last for a feed (None)."""

    type: int
    feed: int
    channel: int | None


class Answer(NamedTuple):
    """Answers what was asked, `from_feed`'s way, with one byte of the message changed or not."""

    most: int
    from_feed: int | None
    flip: int | None
    is_history: bool


class Forge(NamedTuple):
    """Claims a head of 2**depth blocks of the feed that the peer owns, and can prove one block."""

    depth: int
    at: int
    size: int
    fork: int


class Raw(NamedTuple):
    """A frame of anything, or bytes that are no frame at all."""

    data: bytes
    is_frame: bool


class Reconnect(NamedTuple):
    """Dials again, after these bytes in place of a handshake, if there are some."""

    before: bytes | None


class User(NamedTuple):
    """What the user of the node does meanwhile."""

    what: str
    number: int


class Wait(NamedTuple):
    """Time goes by."""

    seconds: float


Move = Send | Open | Control | Answer | Forge | Raw | Reconnect | User | Wait


def _damaged(body: bytes, cut: int | None, flip: int | None) -> bytes:
    if cut is not None:
        body = body[: cut % (len(body) + 1)]
    if flip is not None and body:
        changed = bytearray(body)
        changed[flip % len(body)] ^= 1 << (flip >> 8 & 7)
        return bytes(changed)
    return body


requests = st.builds(
    Request,
    st.none() | st.builds(BlockRequest, numbers, numbers),
    st.none() | st.builds(HashRequest, numbers, numbers),
    st.none() | st.builds(SeekRequest, numbers, numbers),
    st.none() | st.builds(UpgradeRequest, numbers, numbers),
)
proofs = st.builds(
    Proof,
    numbers,
    st.none() | st.builds(BlockProof, numbers, st.binary(max_size=40), node_lists),
    st.none() | st.builds(HashProof, numbers, node_lists),
    st.none() | st.builds(SeekProof, numbers, node_lists),
    st.none()
    | st.builds(UpgradeProof, numbers, numbers, node_lists, node_lists, st.binary(max_size=70)),
)
flags = st.booleans()
small_ids = st.one_of(st.integers(0, 12), numbers)
whole: SearchStrategy[tuple[int, bytes]] = st.one_of(
    st.tuples(
        st.just(m.SYNC),
        st.builds(
            m.Sync, st.one_of(st.integers(0, 2), numbers), numbers, numbers, flags, flags, flags
        ).map(m.encode_sync),
    ),
    st.tuples(
        st.just(m.REQUEST),
        st.builds(
            m.RequestMessage, small_ids, st.one_of(st.just(0), numbers), requests, numbers
        ).map(m.encode_request),
    ),
    st.tuples(st.just(m.CANCEL), st.builds(m.Cancel, small_ids).map(m.encode_cancel)),
    st.tuples(st.just(m.DATA), st.builds(m.Data, small_ids, proofs).map(m.encode_data)),
    st.tuples(st.just(m.NO_DATA), st.builds(m.NoData, small_ids, numbers).map(m.encode_no_data)),
    st.tuples(
        st.sampled_from([m.WANT, m.UNWANT]),
        st.builds(m.Want, st.one_of(words, numbers), numbers, flags).map(m.encode_want),
    ),
    st.tuples(
        st.just(m.BITFIELD),
        st.builds(
            m.BitfieldMessage,
            words,
            st.one_of(
                st.binary(max_size=64).map(lambda data: data[: len(data) // 4 * 4]),
                st.integers(0, 65_537).map(lambda count: b"\xa5\xff\0\1" * count),
            ),
        ).map(m.encode_bitfield),
    ),
    st.tuples(st.just(m.RANGE), st.builds(m.Range, flags, numbers, numbers).map(m.encode_range)),
    st.tuples(
        st.just(m.EXTENSION),
        st.builds(m.Extension, st.binary(max_size=70), st.binary(max_size=70)).map(
            m.encode_extension
        ),
    ),
    st.tuples(st.one_of(st.integers(0, 12), numbers), st.binary(max_size=60)),
)
damage = st.one_of(st.none(), st.none(), st.integers(0, 2**16))
messages = st.builds(
    lambda pair, cut, flip: Message(pair[0], _damaged(pair[1], cut, flip)), whole, damage, damage
)
feeds = st.integers(0, FEEDS - 1)

moves: SearchStrategy[Move] = st.one_of(
    st.builds(
        Send, feeds, st.none() | small_ids, st.lists(messages, min_size=1, max_size=12), flags
    ),
    st.builds(Send, feeds, st.none(), st.lists(messages, min_size=1, max_size=3), flags),
    st.builds(
        Open,
        feeds,
        st.sampled_from([0, 0, 0, 0, 1, -1, 2**32]),
        st.sampled_from([m.PROTOCOL, m.PROTOCOL, m.PROTOCOL, b"hypercore", b"other", b"\xff"]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([b"", b"", b"more", bytes(5000)]),
    ),
    st.builds(Control, st.sampled_from([2, 3, 3]), feeds, st.none() | small_ids),
    st.builds(Answer, st.integers(1, 30), st.none() | feeds, damage, flags),
    st.builds(Answer, st.integers(1, 30), st.none(), st.none(), flags),
    st.builds(
        Forge, st.integers(0, 52), numbers, st.one_of(st.just(7), numbers), st.integers(0, 2)
    ),
    st.builds(Raw, st.binary(max_size=80), flags),
    st.builds(Reconnect, st.none() | st.none() | st.binary(max_size=400)),
    st.builds(
        User,
        st.sampled_from(
            ["append", "append_elsewhere", "read", "follow", "remove", "visit", "leave"]
        ),
        st.integers(0, 2**16),
    ),
    st.builds(Wait, st.sampled_from([0.0, 0.1, 1.1, 3.0, 12.0, 40.0])),
)
