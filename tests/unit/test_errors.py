from __future__ import annotations

import pytest

from protozorfs.errors import Closing, first_error


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_first_error_of_a_group_is_told(depth: int) -> None:
    first = Closing("first")
    error: Exception = first
    for _ in range(depth):
        error = ExceptionGroup("of a nursery", [error, ValueError("second")])
    assert first_error(error) is first


def test_an_interrupt_in_a_group_is_found() -> None:
    interrupt = KeyboardInterrupt()
    assert first_error(BaseExceptionGroup("of a nursery", [interrupt])) is interrupt
