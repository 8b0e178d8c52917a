"""What a node keeps of the DHT between runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protozorfs.dht.endpoint import Endpoint
from protozorfs.dht.krpc import Contact
from protozorfs.dht.network import SavedNetwork
from protozorfs.dht.node_id import NodeId
from protozorfs.errors import DecodeError
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.swarm.dht_state import (
    FILE_NAME,
    decode_state,
    encode_state,
    load_state,
    save_state,
)


@st.composite
def networks(draw: st.DrawFn) -> SavedNetwork:
    family, size = draw(st.sampled_from([(4, 4), (6, 16)]))
    node_ids = st.binary(min_size=20, max_size=20).map(NodeId)
    ips = st.binary(min_size=size, max_size=size)
    ports = st.integers(min_value=0, max_value=65535)
    contacts = st.builds(Contact, node_ids, st.builds(Endpoint, ips, ports))
    return SavedNetwork(
        family=4 if family == 4 else 6,
        node_id=draw(node_ids),
        external_ip=draw(st.none() | ips),
        contacts=tuple(draw(st.lists(contacts, max_size=20))),
    )


@given(st.lists(networks(), max_size=2))
def test_it_comes_back_as_it_was(saved: list[SavedNetwork]) -> None:
    data = encode_state(saved)
    assert decode_state(data) == tuple(saved)
    for cut in range(8, len(data)):
        try:
            shorter = decode_state(data[:cut])
        except DecodeError:
            continue
        assert len(shorter) < len(saved), "whole networks only"


@given(st.binary(max_size=200))
def test_a_damaged_file_is_no_error(data: bytes) -> None:
    files = MemoryFiles()
    assert load_state(files) == ()
    files.replace(FILE_NAME, data)
    assert load_state(files) == ()


def test_saved_is_loaded() -> None:
    files = MemoryFiles()
    contact = Contact(NodeId(bytes(20)), Endpoint(b"\x7f\0\0\1", 7000))
    saved = SavedNetwork(
        family=4, node_id=NodeId(bytes(range(20))), external_ip=None, contacts=(contact,)
    )
    save_state(files, [saved])
    assert load_state(files) == (saved,)
