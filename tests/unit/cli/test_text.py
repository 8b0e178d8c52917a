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


def test_paths_are_shown_the_same_whatever_the_locale() -> None:
    name = "Grüße 日本\n".encode() + b"\xff"
    for encoding in ("utf-8", "ascii"):
        path = name.decode(encoding, "surrogateescape")
        assert text.printable_text(path) == "Grüße 日本\\n\\xff"
    assert text.printable_text("\ud800") == "\\ud800"


def test_the_table_has_one_aligned_line_a_feed() -> None:
    heading, first, second = text.table([feed_line(b"a"), feed_line(b"longer name")])
    assert heading.split() == list(text.HEADINGS)
    assert first.split() == ["a", "current", "2", "1234", "7", "1", FEED_ID.hex()]
    assert second.index("current") == first.index("current") == heading.index("STATE")


def test_lines_fit_into_the_terminal_by_the_first_digits_of_ids() -> None:
    feeds = [feed_line(b"a"), feed_line(b"longer name")]
    whole = list(text.table(feeds))
    assert list(text.table(feeds, 200)) == list(text.table(feeds, len(whole[1]))) == whole
    lines = list(text.table(feeds, 80))
    assert [len(line) for line in lines[1:]] == [80, 80]
    digits = lines[2].split()[-1].removesuffix("..")
    assert FEED_ID.hex().startswith(digits)
    narrow = list(text.table(feeds, 20))[1:]
    assert [line.split()[-1] for line in narrow] == [FEED_ID.hex()[:8] + ".."] * 2


def test_what_the_system_says_is_a_sentence() -> None:
    assert text.sentence(OSError(28, "No space")) == "No space"
    assert text.sentence(OSError(28, "No space", "a")) == "a: No space"
    assert text.sentence(OSError(28, "No space", b"a")) == "a: No space"
    assert text.sentence(OSError("odd")) == "odd"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b".hidden", "does not begin with a dot"),
        (b".live", "that name is reserved"),
        (b"n" * 256, "at most 255 bytes"),
        (FEED_ID.hex().encode(), "a feed ID is no name"),
    ],
)
def test_names_that_a_mount_refuses(name: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=f"{name.decode()}: .*{reason}"):
        access.check_new_name(name, is_made=True)
    for fine in (b"journal", b"a.b", FEED_ID.hex()[1:].encode(), b"\xff"):
        access.check_new_name(fine, is_made=True)


def test_names_for_feeds_that_are_followed() -> None:
    access.check_new_name(b".hidden", is_made=False)
    for name in (b".live", b".protozorfs"):
        with pytest.raises(UsageError, match="that name is reserved"):
            access.check_new_name(name, is_made=False)


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
