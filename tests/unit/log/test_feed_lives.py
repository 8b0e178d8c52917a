"""Feeds through kills, power cuts, errors and stops in any order and number.

The smallest form of each fault that was found, and many lives drawn from seeds
(`tests/simulation/log_life.py`), judged by code of its own (`tests/simulation/judge.py`).
"""

from __future__ import annotations

import errno
import itertools
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreError
from protozorfs.store import MemoryFiles
from protozorfs.store.heads import PAGE_BYTES, SLOT_BYTES
from protozorfs.store.memory_disk import ANY, SECTOR_BYTES, WRITES, CutModel
from protozorfs.store.memory_files import Stopped
from tests.simulation.judge import Judge, Violation
from tests.simulation.log_life import (
    PAIR,
    judge_opened,
    open_log,
    run_lives,
    shown_head,
    told,
)
from tests.sizes import long_or_short
from tests.unit.log.feed_tools import create_owned, directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.log.feed import Log

pytestmark = pytest.mark.crash

SEEDS = long_or_short(200, 25)
STEPS = 30


def append(log: Log, judge: Judge, *blocks: bytes) -> None:
    judge.append_begins(list(blocks))
    log.append(blocks)
    judge.append_returned()


def sync(log: Log, judge: Judge) -> None:
    judge.sync_begins()
    log.sync()
    judge.sync_returned()
    judge.shown(shown_head(log.durable_head))


def opened(files: MemoryFiles, judge: Judge, *, was_power_cut: bool = False) -> Log:
    try:
        log = open_log(files)
    except StoreError as error:
        judge.unusable(error)
        raise
    judge_opened(log, judge, was_power_cut=was_power_cut)
    return log


def new_feed(seed: int) -> tuple[MemoryFiles, Judge, Log]:
    files, judge = MemoryFiles(seed), Judge(PAIR.public_key)
    return files, judge, create_owned(files)


def violated_by(story: Callable[[int], None], seeds: int = SEEDS) -> list[tuple[int, str]]:
    """The seeds with which a story breaks a rule."""
    found = []
    for seed in range(seeds):
        try:
            story(seed)
        except Violation as violation:
            found.append((seed, str(violation)))
    return found


@pytest.mark.parametrize("failure", ["stop", "io"])
@pytest.mark.parametrize("way", ["cut", "sync", "clean stop"])
def test_a_durable_head_that_only_the_cache_has_is_not_believed(failure: str, way: str) -> None:
    """A sync ends between the write of its durable head and the sync of that; kill; power cut."""

    def story(seed: int) -> None:
        for ahead in range(6):  # data, tree, the write of the slot, its sync, and no failure
            files, judge, log = new_feed(seed)
            append(log, judge, b"first" * 100)
            sync(log, judge)
            append(log, judge, b"second" * 200, b"third")
            files.fail_at(files.operations + ahead, failure)
            with suppress(Stopped, StoreError, OSError):
                log.sync()
            files.kill()
            log = opened(files, judge)
            if way == "sync":
                sync(log, judge)
            elif way == "clean stop":
                log.close()
                judge.closed_cleanly()
            files.power_cut(random.Random(seed))
            append(opened(files, judge, was_power_cut=True), judge, b"other")

    found = violated_by(story)
    assert not found, f"{len(found)} of {SEEDS} seeds: {found}"


@pytest.mark.parametrize("ahead", range(6))
def test_a_failed_sync_of_leavings_is_not_repeated_as_if_fine(ahead: int) -> None:
    """A change fails, so does a sync while what it left is removed; what follows is durable."""

    def story(seed: int) -> None:
        files, judge, log = new_feed(seed)
        append(log, judge, b"first" * 100)
        sync(log, judge)
        append(log, judge, b"second" * 200)
        files.fail_at(files.operations + 2, errno.ENOSPC)
        with pytest.raises(StoreError):
            log.append([b"does not fit"])
        files.fail_at(files.operations + ahead, errno.EIO)
        for number in range(3):
            judge.append_begins([b"%d" % number * 300])
            try:
                log.append([b"%d" % number * 300])
            except (StoreError, OSError):
                judge.append_failed()
                files.fail_at(None)
            else:
                judge.append_returned()
        files.fail_at(None)
        judge.sync_begins()
        try:
            log.sync()
        except (StoreError, OSError):
            judge.sync_failed()
        else:
            judge.sync_returned()
        judge.shown(shown_head(log.durable_head))
        files.power_cut(random.Random(seed))
        log = opened(files, judge, was_power_cut=True)
        append(log, judge, b"goes on")
        sync(log, judge)

    found = violated_by(story)
    assert not found, f"{len(found)} of {SEEDS} seeds: {found}"


def as_format_1(files: MemoryFiles) -> None:
    """Rewrites `head` as version 0.1.0 left it: four records in its first page, and no more."""
    file = files.open(f"{directory(files).path}/head")
    records = [file.pread(SLOT_BYTES, (1 + slot) * PAGE_BYTES) for slot in range(4)]
    file.truncate(0)
    file.pwritev(records, 0)
    file.fdatasync()


@pytest.mark.parametrize("format_number", [1, 2])
@pytest.mark.parametrize("ending", ["kill", "power cut"])
def test_a_refused_append_never_shows(format_number: int, ending: str) -> None:
    """Not even where the disk took a part of its head: one of the two copies in a slot."""

    def story(seed: int) -> None:
        for ahead in range(5):  # data, tree and head; before it what a feed of format 1 needs
            files, judge, log = new_feed(seed)
            append(log, judge, b"first" * 100)
            sync(log, judge)
            files.kill()
            if format_number == 1:
                as_format_1(files)
            log = opened(files, judge)
            files.fail_at(files.operations + ahead, seed % 2 * errno.EIO or errno.ENOSPC)
            judge.append_begins([b"refused"])
            try:
                log.append([b"refused"])
            except (StoreError, OSError):
                judge.append_failed()
            else:
                judge.append_returned()
            if ending == "kill":
                files.kill()
            else:
                files.power_cut(random.Random(seed))
            append(opened(files, judge, was_power_cut=ending != "kill"), judge, b"other")

    found = violated_by(story, seeds=10)
    assert not found, f"{len(found)} seeds: {found}"


def test_a_making_that_is_cut_off_anywhere_leaves_a_feed_that_can_be_used() -> None:
    """If it left a key; else the feed never was."""
    opened_again = 0
    for seed in range(SEEDS):
        for ahead in itertools.count():
            files = MemoryFiles(seed)
            files.fail_at(ahead)
            with suppress(Stopped):
                create_owned(files)
                break
            files.power_cut(random.Random(seed))
            if files.exists(f"{directory(files).path}/secret"):
                judge = Judge(PAIR.public_key)
                log = opened(files, judge, was_power_cut=True)
                assert not log.may_lack_heads
                append(log, judge, b"first")
                sync(log, judge)
                opened_again += 1
    assert opened_again > SEEDS


def test_a_feed_whose_making_was_killed_loses_nothing_later() -> None:
    """The names of its files, and its own, may be in the cache only until this run syncs them."""

    def story(seed: int) -> None:
        for ahead in itertools.count():
            files, judge = MemoryFiles(seed), Judge(PAIR.public_key)
            files.fail_at(ahead)
            with suppress(Stopped):
                create_owned(files)
                break
            files.kill()
            if files.exists(f"{directory(files).path}/secret"):
                log = opened(files, judge)
                append(log, judge, b"first" * 100)
                sync(log, judge)
                files.power_cut(random.Random(seed))
                opened(files, judge, was_power_cut=True)

    found = violated_by(story, seeds=20)
    assert not found, f"{len(found)} seeds: {found}"


@pytest.mark.parametrize("ahead", range(1, 5))
def test_a_first_head_that_only_the_cache_has_is_not_believed(ahead: int) -> None:
    whole = MemoryFiles()
    create_owned(whole)
    files, judge = MemoryFiles(), Judge(PAIR.public_key)
    files.fail_at(whole.operations - ahead)  # the last are the head, and the syncs of all files
    with pytest.raises(Stopped):
        create_owned(files)
    files.kill()
    append(opened(files, judge), judge, b"first" * 100)
    files.kill()
    opened(files, judge)  # which syncs data and tree
    files.power_cut(random.Random(1), CutModel(SECTOR_BYTES, WRITES, ANY, 0.0, has_rubbish=False))
    append(opened(files, judge, was_power_cut=True), judge, b"other")


def test_a_clean_mark_that_was_removed_in_the_cache_only_does_not_come_back() -> None:
    def story(seed: int) -> None:
        files, judge, log = new_feed(seed)
        append(log, judge, b"first" * 100)
        log.close()
        judge.closed_cleanly()
        log = opened(files, judge)
        files.fail_at(files.operations + 1)  # between the removal of the mark and its sync
        with pytest.raises(Stopped):
            log.append([b"never"])
        files.kill()
        log = opened(files, judge)
        append(log, judge, b"second" * 200)
        files.power_cut(random.Random(seed))
        assert not directory(files).is_marked_clean()
        opened(files, judge, was_power_cut=True)

    found = violated_by(story)
    assert not found, f"{len(found)} seeds: {found}"


def test_no_life_breaks_a_rule() -> None:
    first = long_or_short(random.randrange(1 << 32), 0)
    print("seeds from", first)
    found = run_lives(range(first, first + long_or_short(20_000, 50)), STEPS)
    assert not found, "\n".join(f"seed {seed}: {told(violation)}" for seed, violation in found)
