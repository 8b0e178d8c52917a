"""The parts of requests and proofs inside `request` and `data` messages.

| flag | in a request | in a proof |
|---|---|---|
| 1 block | uint index, uint nodes | uint index, buffer value, nodes |
| 2 hash | uint tree index, uint nodes | uint tree index, nodes |
| 4 seek | uint byte offset, uint padding | uint byte offset, nodes |
| 8 upgrade | uint start, uint length | uint start, uint length, nodes, nodes, buffer signature |

Parts stand in the order of their flags. `nodes` of a proof is an array of (uint tree index, uint
size, fixed32 hash). Source: hypercore lib/messages.js.
"""

from __future__ import annotations

from protozorfs.compact import decode_buffer, decode_uint, encode_buffer, encode_uint
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
from protozorfs.types import TreeNode

FLAG_BLOCK, FLAG_HASH, FLAG_SEEK, FLAG_UPGRADE = 1, 2, 4, 8

MAX_NODES = 128  # a path has at most 52 nodes, an upgrade at most 106
HASH_BYTES = 32

_CUT_SHORT = "a proof ends too early"
_make_node = TreeNode._make  # takes plain integers as the index types that they are


def request_fields(request: Request) -> tuple[int, list[int]]:
    """The flags and the integers of a request's parts."""
    block, hash_, seek, upgrade = request
    flags = 0
    fields: list[int] = []
    if block is not None:
        flags = FLAG_BLOCK
        fields += block
    if hash_ is not None:
        flags |= FLAG_HASH
        fields += hash_
    if seek is not None:
        flags |= FLAG_SEEK
        fields += seek
    if upgrade is not None:
        flags |= FLAG_UPGRADE
        fields += upgrade
    return flags, fields


def decode_request_parts(
    data: bytes, pos: int, flags: int, padded_seeks: bool
) -> tuple[Request, int]:
    """The parts that the flags announce, and the position behind them. Raises DecodeError."""
    block = hash_ = seek = upgrade = None
    if flags & FLAG_BLOCK:
        first, second, pos = _decode_pair(data, pos)
        block = BlockRequest(first, second)
    if flags & FLAG_HASH:
        first, second, pos = _decode_pair(data, pos)
        hash_ = HashRequest(first, second)
    if flags & FLAG_SEEK:
        first, pos = decode_uint(data, pos)
        second, pos = decode_uint(data, pos) if padded_seeks else (0, pos)
        seek = SeekRequest(first, second)
    if flags & FLAG_UPGRADE:
        first, second, pos = _decode_pair(data, pos)
        upgrade = UpgradeRequest(first, second)
    return Request(block, hash_, seek, upgrade), pos


def encode_proof(request_id: bytes, proof: Proof) -> bytes:
    """A whole `data` message: flags, the encoded id, the fork, the parts."""
    fork, block, hash_, seek, upgrade = proof
    flags = 0
    parts = [b"", request_id, encode_uint(fork)]  # the flags are known in the end
    if block is not None:
        flags = FLAG_BLOCK
        index, value, nodes = block
        parts += (encode_uint(index), encode_uint(len(value)), value)
        _append_nodes(parts, nodes)
    if hash_ is not None:
        flags |= FLAG_HASH
        parts.append(encode_uint(hash_.tree_index))
        _append_nodes(parts, hash_.nodes)
    if seek is not None:
        flags |= FLAG_SEEK
        parts.append(encode_uint(seek.byte_offset))
        _append_nodes(parts, seek.nodes)
    if upgrade is not None:
        flags |= FLAG_UPGRADE
        start, length, nodes, additional_nodes, signature = upgrade
        parts += (encode_uint(start), encode_uint(length))
        _append_nodes(parts, nodes)
        _append_nodes(parts, additional_nodes)
        parts.append(encode_buffer(signature))
    parts[0] = encode_uint(flags)
    return b"".join(parts)


def decode_proof(data: bytes, pos: int, flags: int) -> Proof:
    """The fork and the parts that the flags announce. Raises DecodeError."""
    block = hash_ = seek = upgrade = None
    fork, pos = decode_uint(data, pos)
    if flags & FLAG_BLOCK:
        index, pos = decode_uint(data, pos)
        value, pos = decode_buffer(data, pos)
        nodes, pos = _decode_nodes(data, pos)
        block = BlockProof(index, value, nodes)
    if flags & FLAG_HASH:
        index, pos = decode_uint(data, pos)
        nodes, pos = _decode_nodes(data, pos)
        hash_ = HashProof(index, nodes)
    if flags & FLAG_SEEK:
        offset, pos = decode_uint(data, pos)
        nodes, pos = _decode_nodes(data, pos)
        seek = SeekProof(offset, nodes)
    if flags & FLAG_UPGRADE:
        start, pos = decode_uint(data, pos)
        length, pos = decode_uint(data, pos)
        nodes, pos = _decode_nodes(data, pos)
        additional_nodes, pos = _decode_nodes(data, pos)
        signature, pos = decode_buffer(data, pos)
        upgrade = UpgradeProof(start, length, nodes, additional_nodes, signature)
    return Proof(fork, block, hash_, seek, upgrade)


def _decode_pair(data: bytes, pos: int) -> tuple[int, int, int]:
    first, pos = decode_uint(data, pos)
    second, pos = decode_uint(data, pos)
    return first, second, pos


def _append_nodes(parts: list[bytes], nodes: tuple[TreeNode, ...]) -> None:
    parts.append(encode_uint(len(nodes)))
    for index, size, hash_ in nodes:
        parts += (encode_uint(index), encode_uint(size), hash_)


def _decode_nodes(data: bytes, pos: int) -> tuple[tuple[TreeNode, ...], int]:
    # A run of up to 106 nodes per proof: one-byte integers are decoded in place, and one check at
    # the end finds a hash that was cut short.
    count, pos = decode_uint(data, pos)
    if count > MAX_NODES:
        raise DecodeError(f"a list of {count} nodes")
    nodes = []
    try:
        for _ in range(count):
            index = data[pos]
            pos += 1
            if index > 0xFC:
                index, pos = decode_uint(data, pos - 1)
            size = data[pos]
            pos += 1
            if size > 0xFC:
                size, pos = decode_uint(data, pos - 1)
            end = pos + HASH_BYTES
            nodes.append(_make_node((index, size, data[pos:end])))
            pos = end
    except IndexError:
        raise DecodeError(_CUT_SHORT) from None
    if pos > len(data):
        raise DecodeError(_CUT_SHORT)
    return tuple(nodes), pos
