"""How connections end, and whose fault it is. On virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio.testing

from protozorfs import crypto
from protozorfs.swarm.driver import Driver
from protozorfs.swarm.session import Session
from protozorfs.wire.connection import Connection

if TYPE_CHECKING:
    from protozorfs.swarm.session import Directory

NO_DIRECTORY = cast("Directory", None)  # asked for nothing before the handshake is over


async def drive(sent: bytes | None, *, then_closed: bool) -> Driver:
    """The driver of a connection whose other side sends this and then closes, or is silent."""
    driver = Driver()
    connection = Connection(
        is_initiator=False,
        static=crypto.key_pair(bytes(32)),
        ephemeral=crypto.key_pair(bytes(31) + b"\1"),
        header=bytes(crypto.SECRETSTREAM_HEADER_BYTES),
        now=trio.current_time(),
    )
    session = Session(connection, NO_DIRECTORY, "peer", is_initiator=False, driver=driver)
    ours, theirs = trio.testing.memory_stream_pair()
    if sent:
        await theirs.send_all(sent)
    if then_closed:
        await theirs.send_eof()
    await driver.run(session, cast("trio.SocketStream", ours))
    return driver


@pytest.mark.parametrize("sent", [b"", b"\1", b"\x20\0\0half"])
async def test_an_end_in_the_middle_is_nobodys_fault(
    sent: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    driver = await drive(sent, then_closed=True)
    assert driver.fault is None
    assert "ended in the middle" in driver.why


@pytest.mark.parametrize("sent", [b"", b"\1"])
async def test_silence_is_nobodys_fault(
    sent: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    driver = await drive(sent, then_closed=False)
    assert driver.fault is None
    assert driver.why.startswith("the connection broke: ")


async def test_what_is_invalid_is_the_peers_fault(autojump_clock: trio.testing.MockClock) -> None:
    driver = await drive(b"\xff\xff\xff" + bytes(100), then_closed=False)
    assert driver.fault is not None
