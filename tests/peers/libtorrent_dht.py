"""Real DHT nodes of libtorrent for interop tests; they stay on loopback.

    python libtorrent_dht.py COUNT [HOST:PORT ...]

starts COUNT nodes at 127.0.1.1, 127.0.2.1, ... (each in a /24 of its own, so that libtorrent's
limits against many nodes of one owner hold as they are by default), prints {"nodes": [...]} and
then answers JSON lines of standard input with JSON lines, until that ends:

    {"op": "put", "seed": "<64 hex>", "text": "...", "node": 0}   libtorrent chooses the seq
    {"op": "get", "key": "<64 hex>"}
    {"op": "announce", "infohash": "<40 hex>", "port": 4711}
    {"op": "lookup", "infohash": "<40 hex>"}

With addresses the nodes are at 127.0.101.1, ... and join the network that they are of, in which
many nodes may share one address: the limits against that are lifted.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import libtorrent as lt
from nacl.signing import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_SECONDS = 30.0  # libtorrent waits 15 s for a dead node
SETTLE_SECONDS = 0.5  # after the first peers: it never says that a search is over
FIRST_JOINING = 101
# What lets a node live among many of one address, and ask as fast as a test wants.
SHARED_ADDRESS = {
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_block_ratelimit": 1_000_000,
}
BEYOND_LOOPBACK = (("0.0.0.0", "126.255.255.255"), ("128.0.0.0", "255.255.255.255"))


def session_settings(host: str, *, is_joining: bool) -> dict[str, Any]:
    """A node that knows nobody, and asks nobody beyond loopback."""
    categories = lt.alert.category_t
    return {
        "listen_interfaces": f"{host}:0",
        "alert_mask": categories.dht_notification
        | categories.dht_operation_notification
        | categories.stats_notification
        | categories.status_notification,
        "alert_queue_size": 20000,
        "dht_bootstrap_nodes": "",
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_ip_notifier": False,
        "enable_incoming_tcp": False,
        "enable_outgoing_tcp": False,
        "enable_dht": True,
        "dht_upload_rate_limit": 100_000_000,  # by default it is silent above 8000 bytes/s
        **(SHARED_ADDRESS if is_joining else {}),
    }


class Node:
    """One libtorrent session."""

    def __init__(self, host: str, *, is_joining: bool) -> None:
        self.host = host
        settings: Any = session_settings(host, is_joining=is_joining)
        self._session = lt.session(settings)
        blocked = lt.ip_filter()
        for first, last in BEYOND_LOOPBACK:
            blocked.add_rule(first, last, 1)
        self._session.set_ip_filter(blocked)
        self._wait(lambda alert: isinstance(alert, lt.listen_succeeded_alert))
        self.port = self._session.listen_port()

    def _wait(self, see: Callable[[Any], object], seconds: float = DEADLINE_SECONDS) -> bool:
        """Shows alerts to `see` until one is what was waited for; False when time is up.

        An alert is dead memory after the next `pop_alerts`: `see` copies what it wants.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = [see(alert) for alert in self._session.pop_alerts()]  # all of them
            if any(seen):
                return True
            self._session.wait_for_alert(100)
        return False

    def introduce(self, host: str, port: int) -> None:
        """Names another node."""
        self._session.add_dht_node((host, port))

    def figure(self, name: str) -> int:
        """One of libtorrent's counters."""
        self._session.post_session_stats()
        values: dict[str, int] = {}

        def see(alert: Any) -> bool:
            if isinstance(alert, lt.session_stats_alert):
                values.update(alert.values)
            return bool(values)

        self._wait(see)
        return values[name]

    def wait_figure(self, name: str, least: int) -> int:
        """That counter, once it has come so far."""
        end = time.monotonic() + DEADLINE_SECONDS
        while (value := self.figure(name)) < least and time.monotonic() < end:
            time.sleep(0.02)
        return value

    def put(self, seed: bytes, text: bytes) -> dict[str, Any]:
        """Stores a mutable item under one more than the highest seq that it finds."""
        scalar = bytearray(hashlib.sha512(seed).digest())
        scalar[0] &= 248
        scalar[31] = scalar[31] & 63 | 64
        key = bytes(SigningKey(seed).verify_key)
        self._session.dht_put_mutable_item(bytes(scalar), key, text, b"")
        result: dict[str, Any] = {"ok": False}

        def see(alert: Any) -> bool:
            if not isinstance(alert, lt.dht_put_alert) or bytes(alert.public_key) != key:
                return False
            result.update(ok=alert.num_success > 0, stored=alert.num_success, seq=alert.seq)
            return True

        self._wait(see)
        return result

    def get(self, key: bytes) -> dict[str, Any]:
        """The item with the highest seq, once libtorrent is sure of it."""
        self._session.dht_get_mutable_item(key, b"")
        result: dict[str, Any] = {"ok": False, "seq": 0}
        start = time.perf_counter()

        def see(alert: Any) -> bool:
            if not isinstance(alert, lt.dht_mutable_item_alert) or bytes(alert.key) != key:
                return False
            if alert.item and alert.seq > result["seq"]:
                item: Any = alert.item
                item = item["value"] if isinstance(item, dict) else item
                result.update(ok=True, seq=alert.seq, text=item.decode())
                result.setdefault("first_ms", milliseconds_since(start))
            return bool(alert.authoritative)

        self._wait(see)
        return result

    def announce(self, infohash: bytes, port: int) -> dict[str, Any]:
        """Announces; done when libtorrent has sent it somewhere."""
        counter = "dht.dht_announce_peer_out"
        before = self.figure(counter)
        self._session.dht_announce(lt.sha1_hash(infohash), port, 0)
        return {"ok": self.wait_figure(counter, before + 1) > before}

    def lookup(self, infohash: bytes) -> dict[str, Any]:
        """The peers of an infohash."""
        wanted = lt.sha1_hash(infohash)
        self._session.dht_get_peers(wanted)
        peers: set[str] = set()

        def see(alert: Any) -> bool:
            if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.info_hash == wanted:
                peers.update(f"{host}:{port}" for host, port in alert.peers())
            return bool(peers)

        self._wait(see)
        self._wait(lambda alert: see(alert) and False, SETTLE_SECONDS)
        return {"ok": bool(peers), "peers": sorted(peers)}

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does what one line of input says."""
        match command["op"]:
            case "put":
                return self.put(bytes.fromhex(command["seed"]), command["text"].encode())
            case "get":
                return self.get(bytes.fromhex(command["key"]))
            case "announce":
                return self.announce(bytes.fromhex(command["infohash"]), command["port"])
            case "lookup":
                return self.lookup(bytes.fromhex(command["infohash"]))
            case unknown:
                return {"ok": False, "error": f"unknown op {unknown}"}


def milliseconds_since(start: float) -> float:
    """The time since that reading of `perf_counter`."""
    return round((time.perf_counter() - start) * 1000, 3)


def main() -> None:
    """Starts the nodes, introduces all to all, and obeys."""
    count = int(sys.argv[1])
    others = [(host, int(port)) for host, port in (word.split(":") for word in sys.argv[2:])]
    first = FIRST_JOINING if others else 1
    nodes = [
        Node(f"127.0.{number}.1", is_joining=bool(others)) for number in range(first, first + count)
    ]
    for node in nodes:
        for host, port in [*others, *((node.host, node.port) for node in nodes)]:
            if (host, port) != (node.host, node.port):
                node.introduce(host, port)
    for node in nodes:
        node.wait_figure("dht.dht_nodes", min(count - 1 + len(others), 6))
    print(json.dumps({"nodes": [{"host": node.host, "port": node.port} for node in nodes]}))
    sys.stdout.flush()
    for line in sys.stdin:
        command = json.loads(line)
        start = time.perf_counter()
        answer = nodes[command.get("node", 0)].obey(command)
        print(json.dumps({"ms": milliseconds_since(start), **answer}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
