"""The harnesses of `scripts/fuzz`, on their seeds and seeded changes of these, without a fuzzer."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.fuzz_table import again
from tests.fuzzing.harness import Chooser, edited, part, resealed, resealed_before
from tests.fuzzing.harnesses import HARNESSES
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = long_or_short(20.0, 0.4)  # for each harness, its seeds apart
MAX_CHANGES = 6
ROOT = Path(__file__).parents[2]
IMPORT = "import tests.fuzzing.harnesses"


@pytest.fixture(autouse=True)
def logging_again() -> Iterator[None]:
    """Harnesses turn the log off."""
    yield
    logging.disable(logging.NOTSET)


def changed(seeds: list[bytes], chance: random.Random) -> bytes:
    """A seed with bytes changed, inserted and removed, or continued by another."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, MAX_CHANGES)):
        at = chance.randint(0, len(data))
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case 2:
                del data[at : at + chance.randint(1, 9)]
            case 3:
                data[at:] = chance.choice(seeds)[at // 2 :]
    return bytes(data)


@pytest.mark.parametrize("name", HARNESSES)
def test_no_input_raises(name: str, tmp_path: Path) -> None:
    harness, chance = HARNESSES[name], random.Random(name)
    run, seeds = harness.make(tmp_path), list(harness.seeds())
    assert seeds
    for seed in seeds:
        run(seed)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        data = changed(seeds, chance)[: harness.max_bytes]
        try:
            run(data)
        except BaseException as error:
            error.add_note(f"input: {data!r}")
            raise


def test_harnesses_need_nothing_that_only_tests_have() -> None:
    """What `scripts/fuzz` installs is atheris and the package."""
    script = "import sys; sys.modules |= dict.fromkeys(['pytest', 'hypothesis']); " + IMPORT
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_an_input_is_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b'{"pid": 4711}')
    assert again("lock", str(path)) == 0
    assert "raises nothing" in capsys.readouterr().out
    path.unlink()
    with pytest.raises(FileNotFoundError):
        again("lock", str(path))


def test_an_input_is_taken_from_the_front() -> None:
    chooser = Chooser(b"\x05\x00\x03" + part(b"abc") + b"rest")
    assert (chooser.number(4), chooser.number(300)) == (1, 3 * 256 % 300)
    assert (chooser.part(), chooser.left) == (b"abc", 4)
    assert (chooser.rest(), chooser.rest(), chooser.number(9)) == (b"rest", b"", 0)


def test_checksums_are_set_right() -> None:
    content = bytes(40)
    sealed = resealed(content)
    assert sealed != content
    assert resealed(sealed) == sealed
    assert resealed_before(content)[32:] == content[32:]
    assert edited(content, Chooser(b"")) == content
    assert edited(content, Chooser(b"\1\3\7\3")) == resealed(b"\0\0\0\7" + bytes(36))
