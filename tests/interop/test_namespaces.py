"""The harness's networks: who is joined reaches the other, and nobody else is reached."""

from __future__ import annotations

import subprocess

from tests.namespaces import Host, network

PORT = 4000
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
LISTEN = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("up", flush=True)
while True:
    listener.accept()
"""


def reaches(host: Host, address: str) -> bool:
    command = host.command("python3", "-c", CONNECT, address, str(PORT))
    return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=20).returncode == 0


def test_only_joined_hosts_reach_each_other() -> None:
    with network(3, [(0, 1), (1, 2)]) as hosts:
        listen = hosts[1].command("python3", "-c", LISTEN, str(PORT))
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:
            try:
                assert listener.stdout is not None
                assert listener.stdout.readline() == "up\n"
                assert reaches(hosts[0], hosts[1].address_seen_by(0))
                assert reaches(hosts[2], hosts[1].address_seen_by(2))
                assert not reaches(hosts[2], hosts[1].address_seen_by(0))
                hosts[0].cut_off_from(1)
                assert not reaches(hosts[0], hosts[1].address_seen_by(0))
            finally:
                listener.kill()
