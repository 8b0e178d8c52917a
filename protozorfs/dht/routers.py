"""The public nodes that are known by name: the last way into the network. Source: BEP 5.

They are asked only where contacts of last time and the user's own nodes did not do, and only for
other nodes. Nothing but the default of the option `bootstrap` may refer to them.
"""

from __future__ import annotations

from protozorfs.types import Address

DEFAULT_ROUTERS = (
    Address("router.bittorrent.com", 6881),
    Address("dht.transmissionbt.com", 6881),
    Address("dht.libtorrent.org", 25401),
)
