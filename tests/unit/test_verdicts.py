"""The table of programs on feeds that are not all here tells what is right from what misleads."""

from __future__ import annotations

import pytest

from scripts.readers import Program
from scripts.verdicts import Ran, verdict_of

DATA = b"one\ntwo\nthree\nfour\n"


def plain(length: int) -> Ran:
    """What `cat` does with a plain file of that length."""
    return Ran(0, DATA[:length])


def text_of(ran: Ran, *lengths: int, program: Program | None = None) -> str:
    return verdict_of(program or Program("cat f"), ran, lengths, plain, DATA).text


@pytest.mark.parametrize("length", [4, 6, 8])
def test_what_a_plain_file_of_some_length_gives_is_right(length: int) -> None:
    assert text_of(Ran(0, DATA[:length]), 8, 4) == "right"


@pytest.mark.parametrize(
    ("output", "difference"),
    [
        (DATA[:6], "short"),
        (b"", "short"),
        (DATA[:4] + bytes(4), "zeros"),
        (DATA[:4] + b"three\n", "differs"),
        (DATA[:8] + b"more", "differs"),
    ],
)
def test_anything_else_with_exit_code_0_is_wrong(output: bytes, difference: str) -> None:
    assert text_of(Ran(0, output), 8) == f"WRONG: {difference}"


def test_less_is_right_if_a_failure_is_told() -> None:
    assert text_of(Ran(2, DATA[:3]), 8) == "error 2"


def test_an_exit_code_that_is_an_answer_tells_of_no_failure() -> None:
    program = Program("cmp f $ALL", answers=(0, 1))
    assert text_of(Ran(1, b""), 8, program=program) == "WRONG: short"
    assert text_of(Ran(2, b""), 8, program=program) == "error 2"


def test_a_program_that_never_ends_is_wrong() -> None:
    assert text_of(Ran(None, b""), 8) == "WRONG: never ends"


@pytest.mark.parametrize(("follows", "text"), [(True, "right"), (False, "WRONG: differs")])
def test_only_a_follower_goes_on_with_what_came_later(follows: bool, text: str) -> None:
    def last_line(length: int) -> Ran:
        return Ran(0, DATA[:length].splitlines(keepends=True)[-1])

    program = Program("tail -n 1 f", follows=follows)
    verdict = verdict_of(program, Ran(0, b"two\nthree\n"), [4, 8, 14], last_line, DATA)
    assert verdict.text == text
