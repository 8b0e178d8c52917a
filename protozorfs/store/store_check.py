"""Checks what a store has besides the logs of its feeds: its own files, names, keys and places.

Nothing is changed. How much one finding weighs, its kind says.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.errors import DecodeError, StoreCorrupt, StoreError, StoreRefused, UsageError
from protozorfs.store.findings import Finding, Kind, Remedy, Severity
from protozorfs.store.format import is_old_format
from protozorfs.store.keys import NODE_KEY_FILES, damaged_node_seeds
from protozorfs.store.known_peers import PEERS_FILE, open_peers
from protozorfs.store.layout import (
    PLAIN_FILES,
    SECRET_FILES,
    VISITED_FILE,
    FeedDirectory,
    feed_path,
)
from protozorfs.store.lock import LOCK_FILE
from protozorfs.store.making import FEEDS
from protozorfs.store.name_records import RECORD_BYTES, Known, decode_record, merge
from protozorfs.store.names import COPY_FILE, NAMES_FILE
from protozorfs.store.numbers import INODES_FILE, decode_numbers
from protozorfs.store.old_names import OLD_FILES, OLD_NAMES_FILE, read_old_names
from protozorfs.store.overlay import OverlayFiles
from protozorfs.store.place import decode_place
from protozorfs.store.placement import PLACED_WITH_NODE, Placement
from protozorfs.store.pool import FilePool
from protozorfs.store.read_only import EntryKind
from protozorfs.store.spare import SPARE_BYTES, SPARE_FILE
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store.files import Files
    from protozorfs.store.read_only import Entry, ReadOnlyFiles

NEW_SUFFIX = ".new"  # of a file that is being written
CUT_SUFFIX = ".cut"
_KEYS = (*SECRET_FILES, *NODE_KEY_FILES)
_STORE_FILES = frozenset(
    {
        *("format", LOCK_FILE, *NODE_KEY_FILES, "node_key_place"),
        *(INODES_FILE, "dht", SPARE_FILE),
        *(NAMES_FILE, COPY_FILE, PEERS_FILE, "mount.log", "mount.log.1", *OLD_FILES),
    }
)
_FEED_FILES = PLAIN_FILES | {VISITED_FILE, "evidence", "evidence_heads", "evidence_later"}
_FOR_US_ALONE = 0o077  # the permissions that nobody else is to have
_READ_AND_WRITE = 0o600

UNREADABLE = Kind(
    code="unreadable",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="what it holds could not be checked, and cannot be used",
    advice="see what the system says of that disk or of its permissions, then check again",
)
FORMAT_DAMAGED = Kind(
    code="format-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="the store cannot be opened; all that it holds is as it was",
    advice="if no newer version made it: `echo protozorfs store 2 > STORE/format`",
)
LOCK_MISSING = Kind(
    code="lock-missing",
    severity=Severity.NOTE,
    remedy=Remedy.REPAIR,
    meaning="without `format` as well, the directory would not be taken for a store",
    advice="the next start makes the file again, and so does a repair",
)
STORE_OPEN = Kind(
    code="store-open",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="other users of this machine can look into the store, and perhaps at its keys",
    advice="a repair and each start close it again: `chmod 700 STORE`",
)
NOT_OURS = Kind(
    code="not-ours",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="it belongs to another user, or its owner may not read and write it",
    advice="chown(1) or chmod(1) it; that of `secret` makes the store look restored, see"
    " `protozorfs store adopt`",
)
WRONG_KIND = Kind(
    code="wrong-kind",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="it is a link, a device or a directory where a file must be, or the reverse",
    advice="find out who has put it there, and put the right one back",
)
STRAY = Kind(
    code="stray",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="it is not of this program and is passed over",
    advice="if nobody needs it, remove it",
)
LEFT_OVER = Kind(
    code="left-over",
    severity=Severity.NOTE,
    remedy=Remedy.REPAIR,
    meaning="a write that was interrupted left it; it counts for nothing",
    advice="a repair removes it",
)
LEFT_OVER_KEY = Kind(
    code="left-over-key",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="the making of a key was interrupted; it counts for nothing",
    advice="if the feed's `secret` is whole, remove it",
)
KEPT_ASIDE = Kind(
    code="kept-aside",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="it holds what was cut off the feed when a head of it was damaged",
    advice="if nothing is missing, remove it",
)
NAMES_DAMAGED = Kind(
    code="names-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="nothing is lost: the other file has what is damaged in this one",
    advice="the next start and a repair write it anew",
)
NAMES_LOST = Kind(
    code="names-lost",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="feeds whose names are lost are shown by their IDs; nothing of them is removed",
    advice="a repair writes what is left of the names anew; `mv` in a mount gives feeds new ones",
)
UNNAMED = Kind(
    code="unnamed",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="the next start shows the feed by its ID",
    advice="`mv` in a mount gives it a name",
)
OWN_KEY_MISSING = Kind(
    code="own-key-missing",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="the feed is said to be owned: nothing can be appended to it without its key",
    advice="put the feed's file `secret` back from a backup, or all of its directory",
)
NODE_KEY_DAMAGED = Kind(
    code="node-key-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="one of the two files of the node's key; the other is whole",
    advice="a repair, or the next start, writes it anew from the other",
)
NODE_KEY_LOST = Kind(
    code="node-key-lost",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="the store cannot be opened; feeds do not depend on this key",
    advice="a repair makes a new one: to peers it is another node from then on",
)
NODE_PLACE = Kind(
    code="node-place",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="the next start gives the node a new key, as it does in a copy of a store",
    advice="nothing has to be done; `protozorfs store adopt` keeps the key",
)
NODE_PLACE_DAMAGED = Kind(
    code="node-place-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="a copy of the store would not be told from it",
    advice="a repair, or the next start, takes the store as it is for the one that it was",
)
PLACE_DAMAGED = Kind(
    code="place-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="the feed is taken for a copy: it takes no appends before peers were asked for newer"
    " heads",
    advice="mount the store while the network is there, or see `protozorfs store adopt`",
)
DISPLACED = Kind(
    code="displaced",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="the store may be a copy or an older state: the feed takes no appends before peers were"
    " asked for newer heads",
    advice="mount the store while the network is there, or see `protozorfs store adopt`",
)
INODES_DAMAGED = Kind(
    code="inodes-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="files may get other inode numbers; programs that follow files by them start again",
    advice="a repair derives the key of the numbers from the node's key again, as the next start"
    " does",
)
SPARE_SHORT = Kind(
    code="spare-short",
    severity=Severity.NOTE,
    remedy=Remedy.REPAIR,
    meaning="on a full disk feeds can perhaps not be removed",
    advice="a repair and each start set the space aside again, if there is some",
)
PEERS_DAMAGED = Kind(
    code="peers-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="peers of earlier runs are forgotten; they are found again",
    advice="a repair removes the file",
)


def known_files() -> frozenset[str]:
    """The names of all files that there may be in a store and in the directories of its feeds."""
    return _STORE_FILES | _FEED_FILES


def feed_ids_of(files: Files) -> list[FeedId]:
    """Every feed that has a directory where it must be."""
    found = []
    for bucket in _listed(files, FEEDS):
        for digits in _listed(files, f"{FEEDS}/{bucket}"):
            feed_id = _feed_id(bucket, digits)
            if feed_id is not None:
                found.append(feed_id)
    return found


def known_names(files: Files) -> Known:
    """What the names say, as far as they can be read."""
    try:
        if files.exists(OLD_NAMES_FILE) and not files.exists(NAMES_FILE):
            return read_old_names(files).known
        return merge(_content(files, NAMES_FILE), _content(files, COPY_FILE)).known
    except (DecodeError, OSError, StoreRefused):  # `check_names` says which
        return Known(is_complete=False)


def check_layout(files: ReadOnlyFiles) -> Iterator[Finding]:
    """What is missing, what is not of a store, and what is not for its user alone."""
    store = files.entry("")
    if store.mode & _FOR_US_ALONE:
        yield Finding(kind=STORE_OPEN, path="", what=f"its permissions are {store.mode:o}")
    if not files.exists(LOCK_FILE):
        yield Finding(kind=LOCK_MISSING, path=LOCK_FILE, what="there is none")
    for name in files.listdir(""):
        if name == FEEDS:
            yield from _check_entry(files, name, EntryKind.DIRECTORY)
        else:
            yield from _check_file(files, name, name in _STORE_FILES)
    for bucket in _listed(files, FEEDS):
        path = f"{FEEDS}/{bucket}"
        if files.entry(path).kind is not EntryKind.DIRECTORY:
            yield Finding(kind=STRAY, path=path, what="no feed has its directory there")
            continue
        for digits in files.listdir(path):
            if _feed_id(bucket, digits) is None:
                what = "that is no feed's directory"
                yield Finding(kind=STRAY, path=f"{path}/{digits}", what=what)


def check_directory(files: ReadOnlyFiles, feed_id: FeedId) -> Iterator[Finding]:
    """What a feed's directory has that it should not have, and whether it is one at all."""
    path = feed_path(feed_id)
    found = list(_check_entry(files, path, EntryKind.DIRECTORY))
    if not found:
        for name in files.listdir(path):
            found += _check_file(files, f"{path}/{name}", name in _FEED_FILES)
    for finding in found:
        yield replace(finding, feed_id=feed_id)


def check_own_files(files: ReadOnlyFiles) -> Iterator[Finding]:
    """The files of the store itself, but for what is known elsewhere: the DHT's contacts."""
    checks = (
        ("format", _check_format),
        ("node_key", _check_node_key),
        (INODES_FILE, _check_inodes),
        (SPARE_FILE, _check_spare),
        (PEERS_FILE, _check_peers),
        (NAMES_FILE, _check_names),
    )
    for path, check in checks:
        try:
            yield from check(files)
        except (OSError, StoreRefused) as error:
            yield unreadable(path, error)


def check_feeds_are_there(files: Files, known: Known) -> Iterator[Finding]:
    """The names against the directories."""
    for row in known.rows.values():
        directory = FeedDirectory(FilePool(files), row.feed_id)
        if row.is_owned and not directory.is_owned():
            what = "there is none" if directory.exists() else "its directory is missing"
            path = f"{directory.path}/secret"
            yield Finding(kind=OWN_KEY_MISSING, path=path, what=what, feed_id=row.feed_id)
    for feed_id in feed_ids_of(files):
        directory = FeedDirectory(FilePool(files), feed_id)
        is_to_go = (
            feed_id in known.removed or directory.is_marked_visited() or directory.holds_nothing()
        )
        if feed_id not in known.rows and not is_to_go:
            what = "no name of it is known"
            yield Finding(kind=UNNAMED, path=directory.path, what=what, feed_id=feed_id)


def check_place(files: Files, feed_id: FeedId) -> Iterator[Finding]:
    """Whether an owned feed's files are where and as this store left them."""
    directory = FeedDirectory(FilePool(files), feed_id)
    if not directory.is_owned():
        return
    path = f"{directory.path}/place"
    try:
        decode_place(files.read(path), "secret")
    except FileNotFoundError:
        yield Finding(kind=PLACE_DAMAGED, path=path, what="there is none", feed_id=feed_id)
        return
    except DecodeError as error:
        yield Finding(kind=PLACE_DAMAGED, path=path, what=str(error), feed_id=feed_id)
        return
    why = directory.displacement()
    if why:
        yield Finding(kind=DISPLACED, path=path, what=why, feed_id=feed_id)


def unreadable(path: str, error: OSError | StoreError, feed_id: FeedId | None = None) -> Finding:
    """The finding that a file cannot be read, or must not be."""
    what = str(error)
    if isinstance(error, OSError):
        what = error.strerror or what
    return Finding(kind=UNREADABLE, path=path, what=what, feed_id=feed_id)


def _listed(files: Files, path: str) -> list[str]:
    try:
        return files.listdir(path)
    except (FileNotFoundError, NotADirectoryError, StoreRefused):
        return []


def _feed_id(bucket: str, digits: str) -> FeedId | None:
    if len(digits) != ids.HEX_DIGITS or digits[:2] != bucket:
        return None
    try:
        feed_id = FeedId(bytes.fromhex(digits))
    except ValueError:
        return None
    return feed_id if ids.format_hex(feed_id) == digits else None


def _check_file(files: ReadOnlyFiles, path: str, is_known: bool) -> Iterator[Finding]:
    if is_known:
        yield from _check_entry(files, path, EntryKind.FILE)
    elif path.endswith(NEW_SUFFIX):
        is_key = path.removesuffix(NEW_SUFFIX).rpartition("/")[2] in _KEYS
        kind = LEFT_OVER_KEY if is_key else LEFT_OVER
        yield Finding(kind=kind, path=path, what="it was never finished")
    elif path.endswith(CUT_SUFFIX):
        size = files.entry(path).size
        yield Finding(kind=KEPT_ASIDE, path=path, what=f"{size} bytes are kept there")
    else:
        yield Finding(kind=STRAY, path=path, what="no file of that name belongs there")


def _check_entry(files: ReadOnlyFiles, path: str, kind: EntryKind) -> Iterator[Finding]:
    entry = files.entry(path)
    if entry.kind is not kind:
        yield Finding(kind=WRONG_KIND, path=path, what=f"it is no {kind.value}")
    elif not _is_ours(entry):
        what = f"it belongs to user {entry.user_id} and has permissions {entry.mode:o}"
        yield Finding(kind=NOT_OURS, path=path, what=what)


def _is_ours(entry: Entry) -> bool:
    return entry.user_id == os.geteuid() and entry.mode & _READ_AND_WRITE == _READ_AND_WRITE


def _check_format(files: ReadOnlyFiles) -> Iterator[Finding]:
    if not files.exists("format") and not files.exists(OLD_NAMES_FILE):
        yield Finding(kind=FORMAT_DAMAGED, path="format", what="there is none")
        return
    try:
        is_old_format(OverlayFiles(files), Path())
    except UsageError:
        yield Finding(kind=FORMAT_DAMAGED, path="format", what="it names no format that is known")


def _check_node_key(files: ReadOnlyFiles) -> Iterator[Finding]:
    damaged = damaged_node_seeds(files, NODE_KEY_FILES[0])
    is_whole = set(NODE_KEY_FILES) & set(files.listdir("")) - set(damaged)
    for path, what in damaged.items():
        kind = NODE_KEY_DAMAGED if is_whole else NODE_KEY_LOST
        yield Finding(kind=kind, path=path, what=f"it is {what}")
    if damaged:
        return
    if NODE_KEY_FILES[0] not in files.listdir(""):
        yield Finding(kind=NODE_PLACE, path=NODE_KEY_FILES[0], what="there is none")
        return
    placement = Placement(files, "node_key_place", "", PLACED_WITH_NODE)
    why = placement.displacement()
    if why:
        kind = NODE_PLACE if placement.is_known() else NODE_PLACE_DAMAGED
        yield Finding(kind=kind, path="node_key_place", what=why)


def _check_inodes(files: Files) -> Iterator[Finding]:
    try:
        decode_numbers(files.read(INODES_FILE))
    except FileNotFoundError:
        return
    except DecodeError as error:
        yield Finding(kind=INODES_DAMAGED, path=INODES_FILE, what=str(error))


def _check_spare(files: Files) -> Iterator[Finding]:
    try:
        with closing(files.open(SPARE_FILE)) as file:
            size = file.size()
    except FileNotFoundError:
        size = 0
    if size < SPARE_BYTES:
        what = f"it has {size} bytes in place of {SPARE_BYTES}"
        yield Finding(kind=SPARE_SHORT, path=SPARE_FILE, what=what)


def _check_peers(files: Files) -> Iterator[Finding]:
    try:
        image = files.read(PEERS_FILE)
    except FileNotFoundError:
        return
    if not image:
        yield Finding(kind=PEERS_DAMAGED, path=PEERS_FILE, what="it is empty")
        return
    try:
        connection, _ = open_peers(image)
        with closing(connection):
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            connection.execute("SELECT feed_id, host, port, node_key FROM peers").fetchall()
    except StoreCorrupt as error:
        verdict = error.what
    except (sqlite3.Error, UnicodeDecodeError) as error:
        verdict = str(error)
    if verdict != "ok":
        yield Finding(kind=PEERS_DAMAGED, path=PEERS_FILE, what=str(verdict))


def _check_names(files: Files) -> Iterator[Finding]:
    if files.exists(OLD_NAMES_FILE) and not files.exists(NAMES_FILE):
        damage = read_old_names(files).damage
        if damage:
            yield Finding(kind=NAMES_LOST, path=OLD_NAMES_FILE, what=damage)
        return
    contents = {path: _content(files, path) for path in (NAMES_FILE, COPY_FILE)}
    try:
        found = merge(*contents.values())
    except DecodeError as error:
        yield Finding(kind=NAMES_LOST, path=NAMES_FILE, what=str(error))
        return
    if not found.known.is_complete:
        what = f"records are damaged in both {NAMES_FILE} and {COPY_FILE}"
        yield Finding(kind=NAMES_LOST, path=NAMES_FILE, what=what)
        return
    for path, content in contents.items():
        if content != found.content and (content or found.content):
            what = f"{_whole_records(content)} of its {_record_count(found.content)} records"
            yield Finding(kind=NAMES_DAMAGED, path=path, what=f"{what} are whole")


def _content(files: Files, path: str) -> bytes:
    try:
        return files.read(path)
    except FileNotFoundError:
        return b""


def _whole_records(content: bytes) -> int:
    starts = range(0, len(content), RECORD_BYTES)
    return sum(decode_record(content[at : at + RECORD_BYTES]) is not None for at in starts)


def _record_count(content: bytes | None) -> int:
    return len(content or b"") // RECORD_BYTES
