"""protozorfs.cli.text and protozorfs.cli.access"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.cli import access, text
from protozorfs.cli.access import FeedLine
from protozorfs.errors import UsageError
from protozorfs.types import FeedId

FEED_ID = FeedId(crypto.key_pair(bytes(32)).public_key)


def feed_line(name: bytes) -> FeedLine:
    return FeedLine(
        name=name,
        feed_id=FEED_ID,
        state="current",
        length=2,
        byte_length=1234,
        held_bytes=7,
        peer_count=1,
    )


@given(st.binary(min_size=1, max_size=30))
def test_no_name_reaches_the_terminal_as_a_command(name: bytes) -> None:
    assert text.printable(name).isprintable()


def test_ordinary_names_are_shown_as_they_are() -> None:
    assert text.printable("Grüße 日本".encode()) == "Grüße 日本"
    assert text.printable(b"a\x1b[31m\n\xff") == "a\\x1b[31m\\n\\xff"


def test_the_table_has_one_aligned_line_a_feed() -> None:
    heading, first, second = text.table([feed_line(b"a"), feed_line(b"longer name")])
    assert heading.split() == list(text.HEADINGS)
    assert first.split() == ["a", "current", "2", "1234", "7", "1", FEED_ID.hex()]
    assert second.index("current") == first.index("current") == heading.index("STATE")


@pytest.mark.parametrize(
    ("argument", "directory", "name"),
    [
        ("journal", None, b"journal"),
        ("feeds/journal", Path("feeds"), b"journal"),
        ("/journal", Path("/"), b"journal"),
        ("./a b", Path("."), b"a b"),
    ],
)
def test_a_name_with_a_slash_is_a_path_in_a_mount(
    argument: str, directory: Path | None, name: bytes
) -> None:
    assert access.split_path(argument) == (directory, name)


def test_a_text_that_is_no_id_is_a_mistake_of_the_user() -> None:
    assert access.parse_id(FEED_ID.hex()) == FEED_ID
    with pytest.raises(UsageError, match="not a feed ID"):
        access.parse_id("journal")


def test_a_short_name_starts_the_id() -> None:
    name = access.short_name(FEED_ID).decode()
    assert len(name) == access.SHORT_ID_DIGITS
    assert FEED_ID.hex().startswith(name)
