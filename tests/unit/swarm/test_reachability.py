"""Whether others can dial us, and how we know."""

from __future__ import annotations

from protozorfs.swarm.port_mapping import MappingState
from protozorfs.swarm.reachability import Dialable, Reachability
from protozorfs.types import Address


def test_the_strongest_evidence_counts() -> None:
    reachability = Reachability()
    assert reachability.judge() == (Dialable.UNKNOWN, "nobody has dialled this node yet")
    reachability.mapping = MappingState(None, "no gateway")
    assert "no gateway" in reachability.judge()[1]
    reachability.was_dialled("fe80::1%eth0")
    assert reachability.judge()[0] is Dialable.LOCALLY
    reachability.mapping = MappingState(Address("10.0.0.1", 4000), "leads to another gateway")
    assert reachability.judge()[0] is Dialable.LOCALLY
    reachability.mapping = MappingState(Address("198.51.200.7", 4000), "by UPnP")
    assert reachability.judge() == (Dialable.LIKELY, "by UPnP")
    reachability.was_dialled("8.8.4.4")
    assert reachability.judge() == (Dialable.YES, "8.8.4.4 has dialled this node")
