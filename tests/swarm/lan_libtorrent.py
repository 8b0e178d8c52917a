"""libtorrent with nothing but local discovery.

    python -m tests.swarm.lan_libtorrent HOST PORT INFOHASH

Prints "up", and the address of each peer that it hears of. Ends with its standard input.
"""

from __future__ import annotations

import sys
import threading
import time

import libtorrent as lt

POLL_SECONDS = 0.05


def main() -> None:
    host, port, infohash = sys.argv[1:]
    session = lt.session(
        {
            "listen_interfaces": f"{host}:{port}",
            "enable_lsd": True,
            "enable_dht": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_ip_notifier": False,
            "local_service_announce_interval": 1,
            "alert_mask": lt.alert.category_t.peer_notification,
        }
    )
    parameters = lt.parse_magnet_uri(f"magnet:?xt=urn:btih:{infohash}")
    parameters.save_path = "/nonexistent"  # there is no metadata, so nothing is ever saved
    parameters.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    session.add_torrent(parameters)
    print("up", flush=True)
    reader = threading.Thread(target=sys.stdin.read, daemon=True)
    reader.start()
    while reader.is_alive():
        for alert in session.pop_alerts():
            if alert.what() == "lsd_peer":  # an alert without a class in Python
                print(alert.message().partition(" peer ")[2].partition(": ")[0], flush=True)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
