"""The harness's networks: who is joined reaches the other, and nobody else is reached."""

from __future__ import annotations

import subprocess

from tests.namespaces import network

PORT = 4000
LISTEN = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("up", flush=True)
while True:
    listener.accept()
"""


def test_only_joined_hosts_reach_each_other() -> None:
    with network(3, [(0, 1), (1, 2)]) as hosts:
        listen = hosts[1].command("python3", "-c", LISTEN, str(PORT))
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:
            try:
                assert listener.stdout is not None
                assert listener.stdout.readline() == "up\n"
                assert hosts[0].reaches(hosts[1].address_seen_by(0), PORT)
                assert hosts[2].reaches(hosts[1].address_seen_by(2), PORT)
                assert not hosts[2].reaches(hosts[1].address_seen_by(0), PORT)
                hosts[0].cut_off_from(1)
                assert not hosts[0].reaches(hosts[1].address_seen_by(0), PORT)
            finally:
                listener.kill()
