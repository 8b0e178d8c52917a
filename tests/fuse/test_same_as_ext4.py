"""A feed's file and a file of ext4 give the same results and errnos, whatever is done to them.

A feed of one's own is compared with a file after `chattr +a`, a followed one with a file of mode
0444. `tests.fuse.differences` has what differs.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from protozorfs import crypto
from tests.conftest import IS_CI
from tests.e2e.stage import free_port, mounted_at
from tests.fuse import comparable
from tests.fuse.compared import (
    ROOT_UID,
    STRANGER_UID,
    WITHOUT_CAPABILITIES,
    Pair,
    compared,
    set_append_only,
)
from tests.fuse.differences import TABLES, Difference, kind_of
from tests.sizes import long_or_short
from tests.users import has_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not has_user(STRANGER_UID), reason="there is no other user"),
]

SEQUENCES = long_or_short(2000, 60)
STEPS = 25
CONTENT = b"hello\n" + b"x" * 5000
MAX_DESCRIPTORS = 4
# These change the file's name, or what a following comparison rests on.
RESTAGED_AFTER = ("unlink", "rename_onto_other", "rename_other_onto", "link", "link_descriptor")


class Comparison(RuleBasedStateMachine):
    """Random operations on both files; anything that differs and is not documented is an error."""

    pair: Pair
    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.open_numbers: list[int] = []
        self.pair.restage()
        self.seen["sequences"] += 1

    def both(self, operation: str, *request: Any) -> Any:
        """Does it on both sides; returns the outcome, or None if it differs as documented."""
        ext4, feed = self.pair(*request)
        self.seen["operations"] += 1
        if ext4 != feed:
            table = TABLES[self.pair.name]
            row = next((row for row in table if row.covers(operation, ext4, feed)), None)
            assert row is not None, f"{request}: ext4 {ext4!r}, feed {feed!r}"
            self.seen[row.what] += 1
        if ext4 != feed or (operation in RESTAGED_AFTER and kind_of(ext4) != ext4):
            self.restage()
            return None
        return ext4

    def restage(self) -> None:
        for number in self.open_numbers:
            self.pair("close", number)
        self.open_numbers.clear()
        self.pair.restage()

    @precondition(lambda self: len(self.open_numbers) < MAX_DESCRIPTORS)
    @rule(flags=comparable.open_flags, suffix=st.sampled_from(comparable.SUFFIXES))
    def open(self, flags: int, suffix: str) -> None:
        number = self.free_number()
        if self.both("open", "open", number, flags, suffix) == "opened":
            self.open_numbers.append(number)

    @precondition(lambda self: 0 < len(self.open_numbers) < MAX_DESCRIPTORS)
    @rule(which=st.integers(0, MAX_DESCRIPTORS), flags=comparable.open_flags, again=st.booleans())
    def open_again(self, which: int, flags: int, again: bool) -> None:
        source, number = self.chosen(which), self.free_number()
        how = ("reopen", number, source, flags) if again else ("duplicate", number, source)
        if self.both("open", *how) == "opened":
            self.open_numbers.append(number)

    @precondition(lambda self: self.open_numbers)
    @rule(which=st.integers(0, MAX_DESCRIPTORS))
    def close(self, which: int) -> None:
        number = self.chosen(which)
        self.both("close", "close", number)
        self.open_numbers.remove(number)

    @precondition(lambda self: self.open_numbers)
    @rule(which=st.integers(0, MAX_DESCRIPTORS), request=comparable.descriptor_requests)
    def act_on_descriptor(self, which: int, request: tuple[Any, ...]) -> None:
        operation, *arguments = request
        self.act_on(self.chosen(which), operation, *arguments)

    @precondition(lambda self: self.open_numbers)
    @rule(which=st.integers(0, MAX_DESCRIPTORS), request=comparable.descriptor_requests)
    def act_on_descriptor_more_often(self, which: int, request: tuple[Any, ...]) -> None:
        operation, *arguments = request
        self.act_on(self.chosen(which), operation, *arguments)

    def act_on(self, number: int, operation: str, *arguments: Any) -> None:
        self.both(operation, "on_descriptor", operation, number, *arguments)
        if number in self.open_numbers:
            self.both("position", "on_descriptor", "lseek", number, 0, os.SEEK_CUR)

    @rule(request=comparable.path_requests)
    def act_on_path(self, request: tuple[Any, ...]) -> None:
        operation, *arguments = request
        self.both(operation, "on_path", operation, *arguments)

    @invariant()
    def content_is_the_same(self) -> None:
        self.both("content", "on_path", "content")
        self.both("stat", "on_path", "stat")

    def teardown(self) -> None:
        for number in self.open_numbers:
            self.pair("close", number)

    def chosen(self, which: int) -> int:
        return self.open_numbers[which % len(self.open_numbers)]

    def free_number(self) -> int:
        return next(n for n in range(MAX_DESCRIPTORS) if n not in self.open_numbers)


def compare(pair: Pair) -> None:
    """Runs all sequences, and says what was seen."""

    class OfThisPair(Comparison):
        pass

    OfThisPair.pair, OfThisPair.seen = pair, Counter()
    run_state_machine_as_test(
        OfThisPair,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(pair.name, dict(OfThisPair.seen))
    assert OfThisPair.seen["sequences"] >= SEQUENCES


def clear(directory: Path) -> None:
    """Removes what a sequence left on ext4."""
    for path in directory.iterdir():
        with suppress(OSError):
            set_append_only(path, on=False)
        path.unlink()


def append(path: Path, content: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(content)


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty directory on a file system of the disk."""
    directory = tmp_path_factory.mktemp("ext4")
    directory.chmod(0o755)  # as the root of a mount
    yield directory
    clear(directory)


@pytest.fixture
def append_only(ext4: Path) -> None:
    """The right to do `chattr +a` there, which root of a user namespace has not."""
    probe = ext4 / "probe"
    probe.touch()
    try:
        set_append_only(probe, on=True)
    except OSError as error:
        reason = f"no `chattr +a` in {ext4}: {error}"
        pytest.fail(reason, pytrace=False) if IS_CI else pytest.skip(reason)
    finally:
        clear(ext4)


@contextmanager
def owned_pair(ext4: Path, directory: Path, uid: int) -> Iterator[Pair]:
    """The real thing, as it is installed."""
    with mounted_at(directory, "m", free_port(), more=["allow_other"]) as mount:

        def restage() -> None:
            clear(ext4)
            for path in mount.path.iterdir():
                os.setxattr(path, "protozorfs.delete_key", os.getxattr(path, "protozorfs.id"))
            for parent in (ext4, mount.path):
                append(parent / "f", CONTENT)
                append(parent / "f.other", b"other\n")
            set_append_only(ext4 / "f", on=True)

        name = "owned" if uid == ROOT_UID else "strangers"
        with compared(name, (ext4, mount.path), restage, uid=uid) as pair:
            yield pair


@contextmanager
def followed_pair(ext4: Path, staged: Staged, uid: int) -> Iterator[Pair]:
    """Feeds in memory: no owner is needed whenever one is followed anew."""

    def restage() -> None:
        clear(ext4)
        for path in staged.path.iterdir():
            path.unlink()
        for name in ("f", "f.other"):
            append(ext4 / name, CONTENT)
            (ext4 / name).chmod(0o444)
            feed_id = crypto.key_pair(crypto.random_bytes(32)).public_key.hex()
            (staged.path / name).symlink_to(feed_id)
            staged.control("stage", name, blocks=[CONTENT.decode()], held=True)

    # On ext4 as the owner whom the mode binds, in the mount as root: root, too, may only read.
    wrappers = (WITHOUT_CAPABILITIES if uid == ROOT_UID else (), ())
    name = "followed" if uid == ROOT_UID else "strangers"
    places = (ext4, staged.path)
    with compared(name, places, restage, uid=uid, wrappers=wrappers) as pair:
        yield pair


WHO = pytest.mark.parametrize("uid", [ROOT_UID, STRANGER_UID], ids=["root", "stranger"])


@pytest.mark.slow
@pytest.mark.usefixtures("append_only")
@WHO
def test_a_feed_of_ones_own_is_as_an_append_only_file(ext4: Path, tmp_path: Path, uid: int) -> None:
    with owned_pair(ext4, tmp_path, uid) as pair:
        compare(pair)


@pytest.mark.slow
@WHO
def test_a_followed_feed_is_as_a_read_only_file(
    ext4: Path, stage: Callable[..., AbstractContextManager[Staged]], uid: int
) -> None:
    with stage("-o", "allow_other") as staged, followed_pair(ext4, staged, uid) as pair:
        compare(pair)


def expect_difference(pair: Pair, row: Difference) -> None:
    pair.restage()
    *before, last = row.example
    for request in before:
        pair(*request)
    operation = last[1] if last[0].startswith("on_") else last[0]
    ext4, feed = pair(*last)
    assert row.covers(operation, ext4, feed), f"{row.what}: ext4 {ext4!r}, feed {feed!r}"
    pair("close", 0)


@pytest.mark.usefixtures("append_only")
def test_the_documented_differences_are_there(
    ext4: Path, tmp_path: Path, stage: Callable[..., AbstractContextManager[Staged]]
) -> None:
    for uid in (ROOT_UID, STRANGER_UID):
        with owned_pair(ext4, tmp_path, uid) as pair:
            for row in TABLES[pair.name]:
                expect_difference(pair, row)
    with stage("-o", "allow_other") as staged, followed_pair(ext4, staged, ROOT_UID) as pair:
        for row in TABLES[pair.name]:
            expect_difference(pair, row)


def test_the_differences_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
    for table in TABLES.values():
        for row in table:
            assert any(row.what in line and row.why in line for line in page.splitlines()), row
