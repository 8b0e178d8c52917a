"""The handshake, the primitives below it and the secretstream against vectors of Node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
import pytest

from protozorfs import crypto
from protozorfs.crypto import CryptoFailure, KeyPair
from protozorfs.errors import LocalProtocolError, RemoteProtocolError
from protozorfs.types import PublicKey
from protozorfs.wire.noise import Handshake, SymmetricState, hkdf2

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "transport.json").read_text())
PRIMITIVES = VECTORS["primitives"]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def handshake(case: dict[str, Any], role: str) -> Handshake:
    keys = case[role]
    return Handshake(
        is_initiator=role == "initiator",
        static=crypto.key_pair(unhex(keys["static_seed"])),
        ephemeral=crypto.key_pair(unhex(keys["ephemeral_seed"])),
    )


def state_of(symmetric: SymmetricState) -> dict[str, Any]:
    key = symmetric.cipher_key
    return {
        "h": symmetric.hash.hex(),
        "chaining_key": symmetric.chaining_key.hex(),
        "cipher_key": None if key is None else key.hex(),
        "cipher_nonce": symmetric.nonce,
    }


def test_primitives() -> None:
    for case in PRIMITIVES["namespaces"]:
        name = case["name"].encode()
        assert [crypto.namespace(name, i).hex() for i in range(len(case["ids"]))] == case["ids"]
    for case in PRIMITIVES["hmac_blake2b_512"]:
        assert crypto.hmac_blake2b_512(unhex(case["key"]), unhex(case["data"])).hex() == case["mac"]
    for case in PRIMITIVES["noise_hkdf_2"]:
        outputs = hkdf2(unhex(case["chaining_key"]), unhex(case["input"]))
        assert [output.hex() for output in outputs] == case["outputs"]


@pytest.mark.parametrize("case", PRIMITIVES["dh"])
def test_diffie_hellman(case: dict[str, Any]) -> None:
    own = crypto.key_pair(unhex(case["local_seed"]))
    assert own == KeyPair(
        PublicKey(unhex(case["local_public_key"])), unhex(case["local_secret_key_64"])
    )
    assert crypto.dh(own, unhex(case["remote_public_key"])).hex() == case["shared"]


@pytest.mark.parametrize("case", PRIMITIVES["dh_points"])
def test_points_that_must_be_refused(case: dict[str, Any]) -> None:
    own = crypto.key_pair(unhex(PRIMITIVES["dh"][0]["local_seed"]))
    if "ok" in case["node"]:
        assert crypto.dh(own, unhex(case["point"])).hex() == case["node"]["ok"]
    else:
        with pytest.raises(CryptoFailure):
            crypto.dh(own, unhex(case["point"]))


@pytest.mark.parametrize("case", VECTORS["noise_xx"], ids=lambda case: case["name"])
def test_every_state_of_the_handshake(case: dict[str, Any]) -> None:
    sides = {role: handshake(case, role) for role in ("initiator", "responder")}
    for side in sides.values():
        assert state_of(side.symmetric) == case["initial_state"]
    for step in case["messages"]:
        sender = sides[step["from"]]
        receiver = sides["responder" if step["from"] == "initiator" else "initiator"]
        assert sender.is_my_turn
        assert not receiver.is_my_turn
        message = sender.write_message()
        assert message.hex() == step["message"]
        receiver.read_message(message)
        assert state_of(sender.symmetric) == step["state_after"]
        assert state_of(receiver.symmetric) == step["state_after"]
    for role, side in sides.items():
        expected = case[f"{role}_result"]
        assert side.result is not None
        assert side.result.send_key.hex() == expected["tx"]
        assert side.result.receive_key.hex() == expected["rx"]
        assert side.result.handshake_hash.hex() == case["handshake_hash"] == expected["hash"]
        assert side.result.remote_key.hex() == expected["remote_public_key"]


def receiver_of(description: str) -> Handshake:
    """A side of the first vector that awaits the message named in the vectors of damage."""
    case = VECTORS["noise_xx"][0]
    messages = [unhex(step["message"]) for step in case["messages"]]
    if description.startswith("initiator"):
        side = handshake(case, "initiator")
        side.write_message()
        return side
    side = handshake(case, "responder")
    if description == "responder, third message":
        side.read_message(messages[0])
        side.write_message()
    return side


@pytest.mark.parametrize("case", VECTORS["noise_xx_damaged"]["cases"], ids=lambda c: c["what"])
def test_damaged_messages_are_refused(case: dict[str, Any]) -> None:
    # Node accepts a payload in the first message; here the size is exact, so this one goes too.
    side = receiver_of(case["receiver"])
    with pytest.raises(RemoteProtocolError):
        side.read_message(unhex(case["message"]))
    assert side.result is None


def test_messages_out_of_turn_are_our_own_mistake() -> None:
    case = VECTORS["noise_xx"][0]
    initiator, responder = handshake(case, "initiator"), handshake(case, "responder")
    with pytest.raises(LocalProtocolError):
        responder.write_message()
    with pytest.raises(LocalProtocolError):
        initiator.read_message(bytes(32))


def cipher_of(push: crypto.PushStream, plain: bytes) -> bytes:
    frame = bytearray(1) + plain + bytes(16)
    push.push_into(frame, 0, len(plain))
    return bytes(frame)


def test_secretstream() -> None:
    case = VECTORS["secretstream"]
    key, header = unhex(case["key"]), unhex(case["header"])
    pull = crypto.PullStream(key, header)
    push = crypto.PushStream(key, header)
    tagged = sodium.crypto_secretstream_xchacha20poly1305_state()  # a sender that sets tags
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(tagged, header, key)
    only_messages_so_far = True
    for step in case["messages"]:
        is_long = "plain_length" in step
        plain = (
            bytes([step["plain_byte"]]) * step["plain_length"] if is_long else unhex(step["plain"])
        )
        cipher = sodium.crypto_secretstream_xchacha20poly1305_push(tagged, plain, tag=step["tag"])
        if is_long:
            assert len(cipher) == step["cipher_length"]
            assert crypto.blake2b_256(cipher).hex() == step["cipher_blake2b_256"]
        else:
            assert cipher.hex() == step["cipher"]
        only_messages_so_far = only_messages_so_far and step["tag"] == 0
        if only_messages_so_far:
            assert cipher_of(push, plain) == cipher
        assert pull.pull(memoryview(cipher)) == plain
