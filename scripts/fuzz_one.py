"""One harness of tests/fuzzing under atheris, with the arguments of libFuzzer.

python -m scripts.fuzz_one HARNESS DIRECTORY [LIBFUZZER-ARGUMENT...]

It may write to the directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protozorfs"]):
    from tests.fuzzing.harnesses import HARNESSES


def main() -> None:
    """Runs until libFuzzer's time is up, or something was raised."""
    name, work = sys.argv.pop(1), Path(sys.argv.pop(1))
    atheris.Setup(sys.argv, HARNESSES[name].make(work))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
