"""The default gateway, from the kernel's table of routes."""

from __future__ import annotations

import sys

import pytest

from protozorfs.swarm.gateway import Gateway, find_gateway, parse_routes

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LINK = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
DEFAULT = "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
DOWN = "eth1\t00000000\t0102A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0\n"
HALF = "tun0\t00000000\t0108000A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"  # 0.0.0.0/1 of a VPN
TUNNEL = "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n"  # a default, no gateway
BETTER = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t20\t00000000\t0\t0\t0\n"

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the tables are little-endian")


@pytest.mark.parametrize(
    ("lines", "gateway"),
    [
        ("", None),
        (LINK, None),
        (LINK + DEFAULT, Gateway("192.0.2.1", "eth0")),
        (DOWN + HALF + TUNNEL + LINK, None),
        (DOWN + HALF + DEFAULT, Gateway("192.0.2.1", "eth0")),
        (DEFAULT + BETTER, Gateway("192.168.1.1", "wlan0")),
    ],
)
def test_the_best_default_route(lines: str, gateway: Gateway | None) -> None:
    assert parse_routes(HEADER + lines) == gateway


def test_the_kernels_own_table_can_be_read() -> None:
    gateway = find_gateway()
    assert gateway is None or gateway.host.count(".") == 3
