"""Hosts of a small network, as network namespaces joined by veth pairs.

Needs the right to make namespaces, which `scripts/isolated` gives to everybody. All of a network
goes with the processes that hold its namespaces: they are always killed, and end by themselves
when nobody was left to do so.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TCP = "6"  # by number: minimal systems have no /etc/protocols
HOLD_SECONDS = 3600.0  # longer than any test, an end all the same
COMMAND_SECONDS = 20.0
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
_ROOT = Path(__file__).parents[1]
MAX_LINKS = 254  # the third number of their addresses


@dataclass
class Host:
    """One network namespace with loopback and a leg in every link."""

    pid: int
    addresses: dict[int, str] = field(default_factory=dict)  # by the other host's position

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a command on this host; files are those of all."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *arguments]

    def address_seen_by(self, other: int) -> str:
        """This host's IPv4 address on the link with the host at that position."""
        return self.addresses[other]

    def run(self, *arguments: str) -> None:
        """Runs a command here and waits for its success."""
        subprocess.run(self.command(*arguments), check=True, timeout=COMMAND_SECONDS)

    def reaches(self, address: str, port: int) -> bool:
        """True if a TCP connection to an address can be made from here."""
        command = self.command("python3", "-c", _CONNECT, address, str(port))
        done = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
        return done.returncode == 0

    @contextmanager
    def running_module(self, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A Python module that runs here and talks by lines; killed at the end."""
        command = self.command(sys.executable, "-m", module, *arguments)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def refuse_connections(self, port: int) -> None:
        """Lets nobody connect to a TCP port from another host, as a firewall does.

        Routing does it, which needs no tool beyond `ip`: answers from the port go nowhere.
        """
        self.run("ip", "rule", "add", "ipproto", TCP, "sport", str(port), "prohibit")

    def cut_off_from(self, other: int) -> None:
        """Takes the link with the host at that position down."""
        self.run("ip", "link", "set", f"to{other}", "down")


@contextmanager
def network(
    host_count: int, links: Sequence[tuple[int, int]], seconds: float = HOLD_SECONDS
) -> Iterator[list[Host]]:
    """Makes hosts and joins the pairs of positions in `links`; nothing is forwarded.

    Who is not joined by a link of its own cannot be reached. After so many seconds all is gone,
    whoever still uses it.
    """
    assert len(links) <= MAX_LINKS
    with ExitStack() as stack:
        hosts = [stack.enter_context(_host(seconds)) for _ in range(host_count)]
        for number, (left, right) in enumerate(links):
            _join(hosts, left, right, f"10.99.{number}")
        yield hosts


@contextmanager
def _host(seconds: float) -> Iterator[Host]:
    hold = f"ip link set lo up && echo up && exec sleep {seconds}"
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", hold], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n", "no right to make namespaces"
            yield Host(holder.pid)
        finally:
            holder.kill()


def _join(hosts: Sequence[Host], left: int, right: int, subnet: str) -> None:
    one, other = hosts[left], hosts[right]
    one.run(
        *("ip", "link", "add", f"to{right}", "type", "veth"),
        *("peer", "name", f"to{left}", "netns", str(other.pid)),
    )
    for host, towards, address in ((one, right, f"{subnet}.1"), (other, left, f"{subnet}.2")):
        host.run("ip", "address", "add", f"{address}/30", "dev", f"to{towards}")
        host.run("ip", "link", "set", f"to{towards}", "up")
        host.addresses[towards] = address
