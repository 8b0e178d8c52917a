"""One feed's channel: what a side tells and asks, what it takes, and where it stops to take."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from protozorfs.errors import RemoteProtocolError
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.proof_types import BlockProof, BlockRequest, Proof, Request, UpgradeRequest
from protozorfs.types import FeedId
from protozorfs.wire import messages as m
from protozorfs.wire.events import ChannelId
from protozorfs.wire.mux import MAX_BODY_BYTES
from protozorfs.wire.replication import (
    CONFLICT_ID,
    MAX_DROPPED_SEGMENTS,
    MAX_LENGTH,
    MAX_RANGE_AHEAD,
    MAX_REMOTE_REQUESTS,
    MAX_REMOTE_WANTS,
    MAX_UNSOLICITED,
    MAX_WANTED_BLOCKS,
    NO_DATA_UNAVAILABLE,
    WANT_BLOCKS,
    Announced,
    Answer,
    Asked,
    HistoryRefused,
    HistoryShown,
    Refused,
    Replica,
    Sent,
    Synced,
    Wanted,
)

if TYPE_CHECKING:
    from protozorfs.wire.connection import Connection

CHANNEL = ChannelId(7)
UPGRADE = Request(upgrade=UpgradeRequest(0, 9))


class Line:
    """Takes what a replica sends, in place of a connection."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []

    def send(self, channel: ChannelId, message_type: int, body: bytes) -> None:
        assert channel == CHANNEL
        self.sent.append((message_type, body))

    def take(self) -> list[tuple[int, bytes]]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def replica(line: Line) -> Replica:
    return Replica(cast("Connection", line), CHANNEL, FeedId(bytes(32)))


def block(index: int, nodes: int = 0) -> Request:
    return Request(block=BlockRequest(index, nodes))


def sync(fork: int = 0, length: int = 0, acknowledged: int = 0) -> bytes:
    return m.encode_sync(m.Sync(fork, length, acknowledged, True, False, False))


def held_blocks(replica: Replica, end: int) -> list[int]:
    return [index for index in range(end) if replica.remote_has(index)]


def test_requests_have_ids_that_count_up_from_the_one_of_other_histories(
    replica: Replica, line: Line
) -> None:
    ids = [replica.send_request(UPGRADE, 3, 0.5, priority=index) for index in range(4)]
    assert ids == [CONFLICT_ID + 1 + index for index in range(4)]
    expected = [m.RequestMessage(each, 3, UPGRADE, index) for index, each in enumerate(ids)]
    assert line.take() == [(m.REQUEST, m.encode_request(each)) for each in expected]


def test_a_request_is_under_way_until_its_answer_comes(replica: Replica) -> None:
    first = replica.send_request(block(4, 1), 0, 0.5, assumed=True)
    second = replica.send_request(block(5, 0), 0, 1.5)
    assert replica.in_flight == {
        first: Sent(block(4, 1), 0.5, True),
        second: Sent(block(5, 0), 1.5, False),
    }
    assert replica.in_flight_blocks == {4: first, 5: second}
    proof = Proof(0, BlockProof(4, b"x", ()))
    answer = replica.receive(m.DATA, m.encode_data(m.Data(first, proof)))
    assert answer == Answer(Sent(block(4, 1), 0.5, True), proof)
    assert replica.in_flight_blocks == {5: second}
    assert [each.since for each in replica.drain_in_flight()] == [1.5]
    assert not replica.in_flight
    assert not replica.in_flight_blocks
    assert not replica.promised


def test_a_node_is_promised_as_long_as_a_request_under_way_brings_it(replica: Replica) -> None:
    ids = [replica.send_request(block(0, 3), 0, 0.0) for _ in range(2)]
    assert set(replica.promised.values()) == {2}
    promised = set(replica.promised)
    replica.cancel(ids[0])
    assert replica.promised == dict.fromkeys(promised, 1)
    replica.cancel(ids[1])
    assert not replica.promised


def test_an_older_request_of_a_block_leaves_the_newer_one_known(replica: Replica) -> None:
    older, newer = (replica.send_request(block(4), 0, 0.0) for _ in range(2))
    replica.cancel(older)
    assert replica.in_flight_blocks == {4: newer}


def test_a_request_that_is_taken_back_is_told_to_be(replica: Replica, line: Line) -> None:
    number = replica.send_request(UPGRADE, 0, 2.5)
    line.take()
    assert replica.cancel(number) == Sent(UPGRADE, 2.5, False)
    assert line.take() == [(m.CANCEL, m.encode_cancel(m.Cancel(number)))]


def test_a_sync_acknowledges_a_length_of_the_same_fork_only(replica: Replica, line: Line) -> None:
    assert replica.receive(m.SYNC, sync(1, 12, 3)) == Synced(is_first=True)
    assert replica.receive(m.SYNC, sync(1, 13, 4)) == Synced(is_first=False)
    remote = replica.remote
    assert (remote.fork, remote.length, remote.acknowledged, remote.can_upgrade) == (1, 13, 4, True)
    assert (remote.is_uploading, remote.is_downloading) == (False, False)
    for fork in (1, 2):
        replica.send_sync(fork=fork, length=5, can_upgrade=False)
    assert [m.decode_sync(body) for _, body in line.take()] == [
        m.Sync(1, 5, 13, False, True, True),
        m.Sync(2, 5, 0, False, True, True),
    ]


def test_blocks_of_one_fork_say_nothing_about_another(replica: Replica) -> None:
    replica.receive(m.RANGE, m.encode_range(m.Range(False, 0, 3)))
    replica.receive(m.SYNC, sync(0, 3))
    assert held_blocks(replica, 4) == [0, 1, 2]
    replica.receive(m.SYNC, sync(1, 3))
    assert not held_blocks(replica, 4)


def test_a_length_that_cannot_be_indexed_is_refused(replica: Replica) -> None:
    replica.receive(m.SYNC, sync(0, MAX_LENGTH))
    with pytest.raises(RemoteProtocolError, match="length beyond"):
        replica.receive(m.SYNC, sync(0, MAX_LENGTH + 1))
    assert replica.remote.length == MAX_LENGTH


def test_ranges_that_are_told_and_dropped(replica: Replica, line: Line) -> None:
    replica.send_range(0, 9)
    replica.send_range(0, 7)
    replica.send_range(20, 22)
    assert replica.told_contiguous == 9
    line.take()
    replica.send_dropped(3, 5)
    assert replica.told_contiguous == 3
    replica.send_dropped(3, 9)
    assert [m.decode_range(body) for _, body in line.take()] == [
        m.Range(False, 5, 4),
        m.Range(True, 3, 2),
        m.Range(True, 3, 6),
    ]
    assert [replica.takes_dropped(4) for _ in range(2)] == [True, False]
    assert not replica.takes_dropped(9)


def test_a_drop_at_the_end_of_what_was_told_repeats_nothing(replica: Replica, line: Line) -> None:
    replica.send_range(0, 9)
    line.take()
    replica.send_dropped(7, 9)
    assert [m.decode_range(body) for _, body in line.take()] == [m.Range(True, 7, 2)]
    assert replica.told_contiguous == 7


def test_only_so_much_is_kept_of_what_was_dropped(replica: Replica) -> None:
    pages = [page * 8192 for page in range(MAX_DROPPED_SEGMENTS + 1)]

    def taken_after(count: int) -> int:
        for start in pages[:count]:
            replica.send_dropped(start, start + 1)
        return sum(map(replica.takes_dropped, pages))

    assert taken_after(MAX_DROPPED_SEGMENTS) == MAX_DROPPED_SEGMENTS
    assert taken_after(MAX_DROPPED_SEGMENTS + 1) == 1


@pytest.mark.parametrize(
    ("blocks", "window", "told"),
    [
        (range(5), (0, 5), m.Range(False, 0, 5)),
        (range(5), (0, 64), m.Range(False, 0, 5)),
        (range(40), (32, 64), m.Range(False, 0, 40)),
        ([*range(40), 50], (32, 64), m.BitfieldMessage(32, b"\xff\x00\x04\x00")),
        ([1], (0, 128), m.BitfieldMessage(0, b"\x02\x00\x00\x00")),
        ([33], (0, 128), m.BitfieldMessage(0, bytes(4) + b"\x02\x00\x00\x00")),
        ([24], (0, 64), m.BitfieldMessage(0, b"\x00\x00\x00\x01")),
        ([40], (0, 32), None),
        ([], (0, 128), None),
        ([70], (96, 128), None),
        ([1], (128, 160), None),
    ],
)
def test_a_want_is_answered_by_a_range_or_by_whole_words_up_to_the_last_block(
    replica: Replica,
    line: Line,
    blocks: range | list[int],
    window: tuple[int, int],
    told: m.Range | m.BitfieldMessage | None,
) -> None:
    held = Bitfield()
    for index in blocks:
        held.set_range(index, index + 1)
    replica.send_held(held, 100, *window)
    sent = [
        m.decode_range(body) if kind == m.RANGE else m.decode_bitfield(body)
        for kind, body in line.take()
    ]
    assert sent == ([] if told is None else [told])


def test_the_widest_want_is_answered_by_the_widest_bitfield(replica: Replica, line: Line) -> None:
    held = Bitfield()
    held.set_range(WANT_BLOCKS - 1, WANT_BLOCKS)
    replica.send_held(held, WANT_BLOCKS, 0, WANT_BLOCKS)
    ((kind, body),) = line.take()
    assert kind == m.BITFIELD
    assert replica.receive(kind, body) == Announced()
    assert replica.remote_has(WANT_BLOCKS - 1)
    wider = m.BitfieldMessage(0, bytes(WANT_BLOCKS // 8 + 4))
    with pytest.raises(RemoteProtocolError, match="a bitfield of 65537 words"):
        replica.receive(m.BITFIELD, m.encode_bitfield(wider))


def test_a_bitfield_ends_what_a_range_told_from_the_first_block_on(replica: Replica) -> None:
    held = Bitfield()
    held.set_range(70, 71)
    replica.send_range(0, 90)
    replica.send_held(held, 100, 64, 96)
    assert replica.told_contiguous == 64


def test_a_window_is_asked_about_once(replica: Replica, line: Line) -> None:
    for index in (0, WANT_BLOCKS - 1, WANT_BLOCKS, 0):
        replica.send_want(index)
    assert [m.decode_want(body) for _, body in line.take()] == [
        m.Want(0, WANT_BLOCKS),
        m.Want(WANT_BLOCKS, WANT_BLOCKS),
    ]


def want(start: int, length: int) -> bytes:
    return m.encode_want(m.Want(start, length))


def test_wants_wait_in_the_order_they_came_until_they_are_taken_back(replica: Replica) -> None:
    for start in (64, 0, 32, 0):
        assert replica.receive(m.WANT, want(start, 32)) == Wanted()
    assert replica.receive(m.UNWANT, m.encode_unwant(m.Unwant(0, 32))) is None
    assert replica.receive(m.UNWANT, m.encode_unwant(m.Unwant(0, 32))) is None
    assert [replica.next_want() for _ in range(2)] == [(64, 96), (32, 64)]
    assert not replica.to_tell


@pytest.mark.parametrize(("start", "length"), [(0, WANT_BLOCKS + 1), (33, 32)])
def test_wants_that_nobody_may_ask_are_ignored(replica: Replica, start: int, length: int) -> None:
    assert replica.receive(m.WANT, want(start, length)) is None
    assert not replica.to_tell


def test_so_many_wants_wait_and_no_more(replica: Replica) -> None:
    for index in range(MAX_REMOTE_WANTS + 1):
        replica.receive(m.WANT, want(32 * index, 32))
    assert len(replica.to_tell) == MAX_REMOTE_WANTS


def test_wants_wait_about_so_many_blocks_and_no_more(replica: Replica) -> None:
    windows = MAX_WANTED_BLOCKS // WANT_BLOCKS
    for index in range(windows + 1):
        replica.receive(m.WANT, want(WANT_BLOCKS * index, WANT_BLOCKS))
    assert len(replica.to_tell) == windows
    replica.next_want()
    replica.receive(m.UNWANT, m.encode_unwant(m.Unwant(WANT_BLOCKS, WANT_BLOCKS)))
    for index in range(windows, windows + 3):
        replica.receive(m.WANT, want(WANT_BLOCKS * index, WANT_BLOCKS))
    assert len(replica.to_tell) == windows


def request(number: int) -> bytes:
    return m.encode_request(m.RequestMessage(number, 0, UPGRADE))


def test_requests_wait_until_they_are_taken_back(replica: Replica) -> None:
    for number in (5, 6):
        assert replica.receive(m.REQUEST, request(number)) == Asked()
    assert replica.receive(m.CANCEL, m.encode_cancel(m.Cancel(5))) is None
    assert replica.receive(m.CANCEL, m.encode_cancel(m.Cancel(5))) is None
    assert list(replica.to_serve) == [6]


def test_so_many_requests_wait_and_no_more(replica: Replica) -> None:
    for number in range(MAX_REMOTE_REQUESTS):
        replica.receive(m.REQUEST, request(number))
    with pytest.raises(RemoteProtocolError, match="asks faster"):
        replica.receive(m.REQUEST, request(MAX_REMOTE_REQUESTS))


def test_a_proof_that_fits_no_frame_is_refused(replica: Replica, line: Line) -> None:
    head = len(m.encode_data(m.Data(3, Proof(0, BlockProof(0, bytes(2**16), ()))))) - 2**16
    for size in (MAX_BODY_BYTES - head, MAX_BODY_BYTES - head + 1):
        replica.send_proof(3, Proof(0, BlockProof(0, bytes(size), ())))
    (first, body), (second, refusal) = line.take()
    assert (first, len(body)) == (m.DATA, MAX_BODY_BYTES)
    assert second == m.NO_DATA
    assert m.decode_no_data(refusal) == m.NoData(3, NO_DATA_UNAVAILABLE)


def test_refusals_count_while_the_block_is_announced_and_until_an_answer(replica: Replica) -> None:
    def refused(request: Request) -> int:
        number = replica.send_request(request, 0, 0.0)
        event = replica.receive(m.NO_DATA, m.encode_no_data(m.NoData(number, 2)))
        assert event == Refused(Sent(request, 0.0, False), 2)
        return replica.refusals

    assert refused(block(0)) == 0
    replica.receive(m.RANGE, m.encode_range(m.Range(False, 0, 1)))
    assert refused(block(0)) == 1
    assert refused(UPGRADE) == 2
    number = replica.send_request(block(0), 0, 0.0)
    proof = Proof(0, BlockProof(0, b"x", ()))
    replica.receive(m.DATA, m.encode_data(m.Data(number, proof)))
    assert replica.refusals == 0


def test_answers_to_nothing_are_ignored_until_there_are_too_many(replica: Replica) -> None:
    data = m.encode_data(m.Data(9, Proof(0)))
    no_data = m.encode_no_data(m.NoData(9))
    for number in range(MAX_UNSOLICITED):
        kind, body = (m.DATA, data) if number % 2 else (m.NO_DATA, no_data)
        assert replica.receive(kind, body) is None
    with pytest.raises(RemoteProtocolError, match="not asked"):
        replica.receive(m.DATA, data)


def test_another_history_is_shown_or_refused_once(replica: Replica, line: Line) -> None:
    shown = m.encode_data(m.Data(CONFLICT_ID, Proof(4)))
    refused = m.encode_no_data(m.NoData(CONFLICT_ID, 1))
    assert replica.receive(m.DATA, shown) == HistoryShown(Proof(4), was_asked=False)
    replica.send_conflict_request(UPGRADE, 4)
    expected = m.encode_request(m.RequestMessage(CONFLICT_ID, 4, UPGRADE))
    assert line.take() == [(m.REQUEST, expected)]
    assert replica.receive(m.DATA, shown) == HistoryShown(Proof(4), was_asked=True)
    assert replica.receive(m.NO_DATA, refused) is None
    replica.send_conflict_request(UPGRADE, 4)
    assert replica.receive(m.NO_DATA, refused) == HistoryRefused()
    assert replica.receive(m.DATA, shown) == HistoryShown(Proof(4), was_asked=False)


def test_ranges_are_cut_and_bitfields_refused_too_far_ahead(replica: Replica) -> None:
    replica.receive(m.SYNC, sync(0, 32))
    limit = 32 + MAX_RANGE_AHEAD
    assert replica.receive(m.RANGE, m.encode_range(m.Range(False, 0, limit + 9))) == Announced()
    assert replica.remote_held.first_unset(0) == limit
    words = b"\x01\x00\x00\x00"
    body = m.encode_bitfield(m.BitfieldMessage(limit - 32, words))
    assert replica.receive(m.BITFIELD, body) == Announced()
    assert not replica.remote_has(limit - 31)
    with pytest.raises(RemoteProtocolError, match="beyond its length"):
        replica.receive(m.BITFIELD, m.encode_bitfield(m.BitfieldMessage(limit, words)))


def test_blocks_that_are_told_as_dropped_are_held_no_longer(replica: Replica) -> None:
    replica.receive(m.RANGE, m.encode_range(m.Range(False, 0, 4)))
    replica.receive(m.RANGE, m.encode_range(m.Range(True, 1, 2)))
    assert held_blocks(replica, 5) == [0, 3]


def test_what_cannot_be_decoded_is_an_error_and_what_is_not_known_is_ignored(
    replica: Replica,
) -> None:
    assert replica.receive(99, b"") is None
    with pytest.raises(RemoteProtocolError, match=f"message {m.SYNC}"):
        replica.receive(m.SYNC, b"")
