"""The format of a store, and the step from the one of version 0.1.0.

| format | names and settings are in |
|---|---|
| 1 (version 0.1.0) | `names.db` (old_names.py) |
| 2 | `names` and `names.copy` (names.py) |

A store of format 1 is brought to format 2 when it is opened: both new files are durable before
`format` says so, and only then does `names.db` go. Interrupted before, the step begins again. A
`names.db` that is damaged stays.
"""

from __future__ import annotations

import logging
import re
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import UsageError
from protozorfs.store.names import COPY_FILE, NAMES_FILE, Names
from protozorfs.store.old_names import OLD_FILES, OLD_NAMES_FILE, read_old_names
from protozorfs.store.unwritable import FORMAT_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.store.files import Files

_FORMAT = b"protozorfs store 2\n"
_OLD_FORMAT = b"protozorfs store 1\n"
_ANY_FORMAT = re.compile(rb"protozorfs store [0-9]+\n")

logger = logging.getLogger(__name__)


def is_old_format(files: Files, path: Path) -> bool:
    """Whether a store is of format 1. One that is being made gets format 2.

    Of one without a file `format` its names tell. No names are ever made from old ones that are
    not there while there are new ones.

    Raises:
        UsageError: it is of another format.
    """
    try:
        found = files.read(FORMAT_FILE)
    except FileNotFoundError:
        found = None
    if found not in (None, _FORMAT, _OLD_FORMAT):
        raise UsageError(_other_format(files, path, found))
    has_names = files.exists(NAMES_FILE) or files.exists(COPY_FILE)
    has_old_names = files.exists(OLD_NAMES_FILE)
    if found is None:
        is_old = has_old_names and not has_names
    else:
        is_old = found == _OLD_FORMAT and (has_old_names or not has_names)
    if not is_old and found != _FORMAT:
        files.replace(FORMAT_FILE, _FORMAT)
    return is_old


def _other_format(files: Files, path: Path, found: bytes) -> str:
    """Why a store is not opened, and what to do."""
    is_new = files.exists(NAMES_FILE) or not files.exists(OLD_NAMES_FILE)
    right = (_FORMAT if is_new else _OLD_FORMAT).decode().strip()
    advice = (
        "nothing of it was changed; if no other version has used it:"
        f" echo {right} > {shlex.quote(str(path / FORMAT_FILE))}"
    )
    if _ANY_FORMAT.fullmatch(found):
        version = found.decode().strip()
        return f"{path} was made by another version of protozorfs ({version}); {advice}"
    return f"{path} has a damaged file {FORMAT_FILE!r}, which says {found[:40]!r}; {advice}"


def open_names(files: Files, path: Path, *, is_old: bool) -> Names:
    """The names of a store, brought to format 2 if they are not there yet.

    Raises:
        StoreCorrupt: they were made by a newer version.
    """
    if not is_old:
        return Names(files)
    old = read_old_names(files)
    if old.damage:
        logger.error(
            "%s is damaged (%s): %d names could be read; other feeds are shown by their IDs until"
            " mv gives them names again; nothing is removed, and the file stays",
            path / OLD_NAMES_FILE,
            old.damage,
            len(old.known.rows),
        )

    def were_made() -> None:
        files.replace(FORMAT_FILE, _FORMAT)
        if not old.damage:
            for name in OLD_FILES:
                with suppress(FileNotFoundError):
                    files.remove(name)

    return Names(files, old.known, were_made)
