"""What happened a moment ago: how long it counts, and who rotates a log."""

from __future__ import annotations

from protozorfs.fs.recent import MAX_REMEMBERED, MEMORY_SECONDS, Recent, Rotations

LATER = 100.0 + MEMORY_SECONDS
TOO_LATE = LATER + 0.1


def test_a_note_counts_for_a_while() -> None:
    recent: Recent[tuple[int, int]] = Recent()
    recent.note((10, 2), 100.0)
    assert recent.has((10, 2), LATER)
    assert not recent.has((10, 2), TOO_LATE)
    assert not recent.has((11, 2), 100.0)
    assert not recent.has((10, 3), 100.0)


def test_what_is_taken_counts_once() -> None:
    recent: Recent[int] = Recent()
    recent.note(1, 100.0)
    assert recent.take(1, LATER)
    assert not recent.take(1, LATER)
    recent.note(1, 100.0)
    assert not recent.take(1, TOO_LATE)


def test_notes_have_a_limit() -> None:
    recent: Recent[int] = Recent()
    for key in range(MAX_REMEMBERED):
        recent.note(key, 0.0)
    recent.note(0, 0.0)  # again: 1 is the oldest now
    recent.note(MAX_REMEMBERED, 0.0)
    assert recent.has(0, 0.0)
    assert not recent.has(1, 0.0)
    assert recent.has(2, 0.0)


def test_only_who_renamed_a_name_away_may_make_it_again() -> None:
    rotations = Rotations()
    rotations.renamed(10, b"log", 100.0)
    assert not rotations.take_name(11, b"log", 100.0)
    assert not rotations.take_name(10, b"log.1", 100.0)
    assert rotations.take_name(10, b"log", LATER)
    assert not rotations.take_name(10, b"log", LATER)
    rotations.renamed(10, b"log", 100.0)
    assert not rotations.take_name(10, b"log", TOO_LATE)


def test_only_who_made_the_new_log_sets_what_cannot_be_kept() -> None:
    rotations = Rotations()
    rotations.made(10, 7, 100.0)
    for take in (rotations.take_mode, rotations.take_owner):
        assert not take(11, 7, 100.0)
        assert not take(10, 8, 100.0)
        assert take(10, 7, LATER)
        assert not take(10, 7, LATER)
