"""What tells files in their place from copies and restored ones, and what does not."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.errors import DecodeError
from protozorfs.store.files import RealFiles
from protozorfs.store.left import LEFT_BYTES, LeftFile, decode_left, encode_left, is_as_left
from protozorfs.store.place import (
    FilePlace,
    Place,
    Stamp,
    Whereabouts,
    decode_place,
    displacement,
    encode_place,
    key_place,
    standing_place,
    written_place,
)
from protozorfs.store.placement import PLACED_WITH_FEED, Placement

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = st.integers(0, 2**63)
PLACES = st.builds(
    Place,
    st.builds(Whereabouts, st.none() | st.just("ab12"), st.none() | st.just("f00")),
    st.dictionaries(
        st.sampled_from(["secret", "head", "data"]),
        st.builds(FilePlace, NUMBERS, NUMBERS, st.none() | NUMBERS),
        min_size=1,
    ),
    st.just(True),
)
STAMP = Stamp(inode=5, birth_ns=10, changed_ns=30, modified_ns=30, size=100)
HERE = Whereabouts("machine", None)


@given(PLACES)
def test_a_place_is_read_as_it_was_written(place: Place) -> None:
    assert decode_place(encode_place(place), "secret") == place
    assert not displacement(place, place)


@given(PLACES, st.data())
def test_no_changed_byte_of_a_place_is_believed(place: Place, draw: st.DataObject) -> None:
    data = bytearray(encode_place(place))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(DecodeError):
        decode_place(bytes(data), "secret")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_place_or_none(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_place(data, "secret")


def test_the_line_of_version_0_1_0_counts_but_for_the_device() -> None:
    kept = decode_place(b"machine 2049 5 10\n", "secret")
    assert not displacement(kept, Place(HERE, {"secret": key_place(STAMP)}))
    for stamp in (STAMP._replace(inode=6), STAMP._replace(birth_ns=11)):
        assert "another one" in displacement(kept, Place(HERE, {"secret": key_place(stamp)}))
    elsewhere = Place(Whereabouts("other", None), {"secret": key_place(STAMP)})
    assert "machine" in displacement(kept, elsewhere)


@pytest.mark.parametrize("field", ["machine", "volume"])
def test_another_machine_or_volume_is_another_place(field: str) -> None:
    files = {"secret": key_place(STAMP)}
    kept = Place(Whereabouts("one", "one"), files)
    assert field in displacement(kept, kept._replace(where=kept.where._replace(**{field: "two"})))


def test_a_write_is_no_change_and_all_else_is() -> None:
    written = STAMP._replace(changed_ns=40, modified_ns=40, size=200)
    touched = STAMP._replace(changed_ns=40)  # chmod, or a restored time of modification
    assert written_place(STAMP) == written_place(written)
    assert written_place(STAMP) != written_place(touched)
    assert standing_place(STAMP) == standing_place(touched)
    assert key_place(STAMP) != key_place(touched)


def test_how_files_were_left_stands_at_the_end_of_a_mark() -> None:
    stamps = [STAMP, STAMP._replace(size=0), STAMP._replace(changed_ns=7)]
    left = encode_left(stamps)
    assert len(left) == LEFT_BYTES
    assert decode_left(b"what comes before" + left) == (
        LeftFile(100, 30),
        LeftFile(0, 30),
        LeftFile(100, 7),
    )
    assert decode_left(b"") == decode_left(bytes(88)) == decode_left(bytes(200)) == ()


def test_a_file_is_as_left_unless_it_was_changed_later() -> None:
    left = LeftFile(100, 30)
    assert is_as_left(left, STAMP)
    assert is_as_left(left, STAMP._replace(changed_ns=29)), "a power cut takes times back"
    assert not is_as_left(left, STAMP._replace(changed_ns=31))
    assert not is_as_left(left, STAMP._replace(size=99))


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """A directory with the files of an owned feed."""
    path = tmp_path / "feed"
    path.mkdir()
    for name in PLACED_WITH_FEED:
        (path / name).write_bytes(name.encode())
    return path


def placement_of(path: Path) -> Placement:
    return Placement(RealFiles(path), "place", "", PLACED_WITH_FEED)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("true", ""),
        ("echo more >> data; echo more >> tree; echo more >> head; touch -d yesterday head", ""),
        ("mv ../feed ../else; mv ../else ../feed; cat secret > ../read", ""),
        ("cp -a . ../copy; rm -r ../feed/*; cp -a ../copy/. .", "another one"),
        ("cp -a . ../copy; cp -a ../copy/. .", "has changed its file 'secret'"),
        ("tar cf ../backup.tar .; tar xf ../backup.tar", "another one"),
        ("rsync -a . ../copy; echo more >> data; rsync -a ../copy/ .", "another one"),
        (
            "rsync -a . ../copy; echo more >> data; rsync -a --inplace ../copy/ .",
            "has changed its file 'data'",
        ),
        ("chmod go-r secret", "has changed its file 'secret'"),
        ("chmod go-r data", "has changed its file 'data'"),
        ("cp -al . ../links", "has changed its file 'secret'"),
        ("rm tree", "missing"),
        ("echo > place", "of no use"),
        ("rm place", "out of its place before"),
    ],
)
def test_what_real_tools_do_is_told_apart(feed: Path, command: str, why: str) -> None:
    program = command.split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    placement = placement_of(feed)
    placement.keep()
    assert not placement.displacement()
    subprocess.run(command, shell=True, check=True, cwd=feed)
    found = placement.displacement()
    assert why in found if why else not found
    placement.keep()
    assert not placement.displacement(), "once the place is taken for right"


def test_a_stamp_says_what_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    expected = (tmp_path / "a").stat()
    stamp = RealFiles(tmp_path).stamp("a")
    assert (stamp.inode, stamp.size) == (expected.st_ino, 7)
    assert stamp.modified_ns == expected.st_mtime_ns
    assert stamp.changed_ns == expected.st_ctime_ns
