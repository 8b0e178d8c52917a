"""The messages of a feed's channel against vectors of Node, and on any input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.compact import encode_uint
from protozorfs.errors import DecodeError
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
from protozorfs.types import MAX_SAFE_INTEGER, FeedId, TreeHash, TreeIndex, TreeNode
from protozorfs.wire import messages as m
from protozorfs.wire.proof_codec import MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "log.json").read_text())

CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "handshake": (m.encode_handshake, m.decode_handshake),
    "sync": (m.encode_sync, m.decode_sync),
    "request": (m.encode_request, m.decode_request),
    "cancel": (m.encode_cancel, m.decode_cancel),
    "data": (m.encode_data, m.decode_data),
    "noData": (m.encode_no_data, m.decode_no_data),
    "want": (m.encode_want, m.decode_want),
    "unwant": (m.encode_unwant, m.decode_unwant),
    "bitfield": (m.encode_bitfield, m.decode_bitfield),
    "range": (m.encode_range, m.decode_range),
    "extension": (m.encode_extension, m.decode_extension),
}


def pair(kind: Any, value: dict[str, int] | None, *keys: str) -> Any:
    return None if value is None else kind(*(value[key] for key in keys))


def nodes(values: list[dict[str, Any]]) -> tuple[TreeNode, ...]:
    return tuple(
        TreeNode(TreeIndex(value["index"]), value["size"], TreeHash(bytes.fromhex(value["hash"])))
        for value in values
    )


def proof(value: dict[str, Any]) -> Proof:
    block, hash_, seek, upgrade = (value[key] for key in ("block", "hash", "seek", "upgrade"))
    return Proof(
        value["fork"],
        block and BlockProof(block["index"], bytes.fromhex(block["value"]), nodes(block["nodes"])),
        hash_ and HashProof(hash_["index"], nodes(hash_["nodes"])),
        seek and SeekProof(seek["bytes"], nodes(seek["nodes"])),
        upgrade
        and UpgradeProof(
            upgrade["start"],
            upgrade["length"],
            nodes(upgrade["nodes"]),
            nodes(upgrade["additionalNodes"]),
            bytes.fromhex(upgrade["signature"] or ""),
        ),
    )


def message(kind: str, v: dict[str, Any]) -> Any:
    if kind == "handshake":
        return m.Handshake(v["seeks"], bytes.fromhex(v["capability"]))
    if kind == "sync":
        flags = (v["canUpgrade"], v["uploading"], v["downloading"])
        return m.Sync(v["fork"], v["length"], v["remoteLength"], *flags)
    if kind == "request":
        request = Request(
            pair(BlockRequest, v["block"], "index", "nodes"),
            pair(HashRequest, v["hash"], "index", "nodes"),
            pair(SeekRequest, v["seek"], "bytes", "padding"),
            pair(UpgradeRequest, v["upgrade"], "start", "length"),
        )
        return m.RequestMessage(v["id"], v["fork"], request, v["priority"])
    if kind == "data":
        return m.Data(v["request"], proof(v))
    if kind == "bitfield":
        words = b"".join(word.to_bytes(4, "little") for word in v["bitfield"])
        return m.BitfieldMessage(v["start"], words)
    if kind == "range":
        return m.Range(v["drop"], v["start"], v["length"])
    if kind == "extension":
        return m.Extension(v["name"].encode(), bytes.fromhex(v["message"]))
    types: dict[str, Any] = {
        "cancel": m.Cancel,
        "noData": m.NoData,
        "want": m.Want,
        "unwant": m.Unwant,
    }
    return types[kind](*v.values())


CASES = [(kind, case) for kind, cases in VECTORS["messages"].items() for case in cases]


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[kind for kind, _ in CASES])
def test_vector(kind: str, case: dict[str, Any]) -> None:
    encode, decode = CODECS[kind]
    encoded = bytes.fromhex(case["hex"])
    expected = message(kind, case["decoded"])
    assert decode(encoded) == expected
    # What is said about manifests means nothing here; it is never sent.
    speaks_of_manifests = any(
        case["value"].get(key) for key in ("hasManifest", "allowPush", "manifest")
    )
    if not speaks_of_manifests:
        assert encode(expected) == encoded
    if kind != "extension":  # whose body goes to the end
        assert decode(encoded + b"\x00\xff") == expected


def test_every_kind_of_message_has_vectors() -> None:
    assert {kind for kind, _ in CASES} == set(CODECS)
    assert len(CASES) == 45


# All but those whose end is raw, or of a part that is passed over.
CUTTABLE = [
    (kind, case)
    for kind, case in CASES
    if kind != "extension" and not case["value"].get("manifest")
]


@pytest.mark.parametrize(("kind", "case"), CUTTABLE, ids=[kind for kind, _ in CUTTABLE])
def test_cut_short(kind: str, case: dict[str, Any]) -> None:
    _, decode = CODECS[kind]
    encoded = bytes.fromhex(case["hex"])
    without_later_fields = len(encoded)
    if kind == "noData":
        without_later_fields -= 2 if case["value"]["reason"] else 1
    elif case["value"].get("any"):
        without_later_fields -= 1
    for size in range(without_later_fields):
        with pytest.raises(DecodeError):
            decode(encoded[:size])


def test_short_forms_of_older_peers() -> None:
    assert m.decode_no_data(b"\x07") == m.NoData(7, 0)
    assert m.decode_want(b"\x20\x20") == m.Want(32, 32, False)
    assert m.decode_unwant(b"\x20\x20") == m.Unwant(32, 32, False)


def test_seek_without_padding_of_peers_that_do_not_know_it() -> None:
    encoded = bytes([4 | 8, 1, 0, 100, 3, 4])
    request = m.decode_request(encoded, padded_seeks=False).request
    assert request == Request(seek=SeekRequest(100, 0), upgrade=UpgradeRequest(3, 4))


def test_capability_vectors() -> None:
    case = VECTORS["capability"]
    handshake_hash = bytes.fromhex(case["handshakeHash"])
    feed_id = FeedId(bytes.fromhex(VECTORS["key"]["publicKey"]))
    for name, sent_by_initiator in (("sentByInitiator", True), ("sentByResponder", False)):
        found = m.capability(handshake_hash, feed_id, sent_by_initiator=sent_by_initiator)
        assert found.hex() == case[name]


uints = st.integers(0, MAX_SAFE_INTEGER) | st.integers(0, 300)
tree_nodes = st.lists(
    st.builds(TreeNode, uints, uints, st.binary(min_size=32, max_size=32)), max_size=5
).map(tuple)
requests = st.builds(
    Request,
    st.none() | st.builds(BlockRequest, uints, uints),
    st.none() | st.builds(HashRequest, uints, uints),
    st.none() | st.builds(SeekRequest, uints, uints),
    st.none() | st.builds(UpgradeRequest, uints, uints),
)
proofs = st.builds(
    Proof,
    uints,
    st.none() | st.builds(BlockProof, uints, st.binary(max_size=300), tree_nodes),
    st.none() | st.builds(HashProof, uints, tree_nodes),
    st.none() | st.builds(SeekProof, uints, tree_nodes),
    st.none()
    | st.builds(UpgradeProof, uints, uints, tree_nodes, tree_nodes, st.binary(max_size=64)),
)


@given(st.builds(m.RequestMessage, uints, uints, requests, uints))
def test_request_round_trip(value: m.RequestMessage) -> None:
    assert m.decode_request(m.encode_request(value)) == value


@given(st.builds(m.Data, uints, proofs))
def test_data_round_trip_and_cut_short(value: m.Data) -> None:
    encoded = m.encode_data(value)
    assert m.decode_data(encoded + b"\x01") == value
    for size in {0, 1, len(encoded) // 2, len(encoded) - 1}:
        with pytest.raises(DecodeError):
            m.decode_data(encoded[:size])


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=120))
def test_arbitrary_bytes_decode_or_raise_decode_error(kind: str, data: bytes) -> None:
    encode, decode = CODECS[kind]
    try:
        value = decode(data)
    except DecodeError:
        return
    assert decode(encode(value)) == value


def test_a_request_of_a_negative_block_has_no_encoding() -> None:
    with pytest.raises(ValueError, match="is not in"):
        m.encode_request(m.RequestMessage(1, 0, Request(BlockRequest(-1, 0))))


def test_limits() -> None:
    block = encode_uint(1) + b"\x01\x00" + b"\x00" + b"\x00"
    node = bytes(34)
    assert len(m.decode_data(block + bytes([MAX_NODES]) + node * MAX_NODES).proof.block or ()) == 3
    refused = {
        "nodes": (m.decode_data, block + bytes([MAX_NODES + 1]) + node * (MAX_NODES + 1)),
        "words": (
            m.decode_bitfield,
            b"\0" + encode_uint(m.MAX_BITFIELD_WORDS + 1) + bytes(4 * m.MAX_BITFIELD_WORDS + 4),
        ),
        "bitfield that starts within a word": (m.decode_bitfield, b"\x01\x01" + bytes(4)),
        "bitfield end": (m.decode_bitfield, encode_uint(2**53 - 32) + b"\x02" + bytes(8)),
        "range end": (m.decode_range, b"\0" + encode_uint(2**53 - 1) + b"\x02"),
        "want end": (m.decode_want, encode_uint(2**53 - 1) + b"\x02"),
        "extension name": (m.decode_extension, b"\x41" + bytes(65)),
    }
    for what, (decode, data) in refused.items():
        with pytest.raises(DecodeError):
            pytest.fail(f"{what}: {decode(data)!r}")
    assert m.decode_range(b"\0" + encode_uint(2**53 - 1) + b"\x01").length == 1
    words = m.MAX_BITFIELD_WORDS
    widest = m.decode_bitfield(b"\0" + encode_uint(words) + bytes(4 * words))
    assert len(widest.words) == 4 * words
