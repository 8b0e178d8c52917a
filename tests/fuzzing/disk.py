"""The files of a store, as their decoders see them, and whole feeds and stores with one changed."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import trio

from protozorfs.errors import (
    BlockUnavailable,
    DecodeError,
    InvalidProof,
    NotWritable,
    ProtozorfsError,
    StoreError,
)
from protozorfs.feeds.conflicts import Conflicts
from protozorfs.feeds.known_head import KnownHead
from protozorfs.feeds.registry import Feeds
from protozorfs.log.at_rest import decode_at_rest, encode_at_rest, read_at_rest
from protozorfs.log.conflict import proven_histories
from protozorfs.log.feed import Log
from protozorfs.log.format import (
    decode_evidence,
    decode_head_slot,
    encode_evidence,
    encode_head_slot,
)
from protozorfs.log.held_file import decode_held, encode_held
from protozorfs.options import Options
from protozorfs.store import MemoryFiles, Store
from protozorfs.store.numbers import decode_numbers, encode_numbers
from tests.fuzzing.harness import Chooser, Harness, edited, resealed, resealed_before
from tests.unit.log.feed_tools import (
    FEED_ID,
    SEED,
    create_followed,
    create_owned,
    directory,
    reopen,
    upgrade,
)
from tests.unit.log.feed_tools import fetch as fetch_block
from tests.unit.log.log_tools import KEY_PAIR, two_histories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from protozorfs.store.files import Files

BLOCKS = [bytes([number + 1]) * (1 + 37 * number) for number in range(13)]
DATA = b"".join(BLOCKS)
NEW_BLOCK = b"appended after that"
# Beside those that a feed has.
OTHER_FEED_FILES = (
    *("clean", "bitfield", "record", "place", "secret", "secret.copy", "sums", "tree_sums"),
    *("evidence", "evidence_heads", "evidence_later"),
)
STORE_FILES = (
    *("format", "lock", "node_key", "node_key.copy", "node_key_place"),
    *("inodes", "dht", "spare", "stale.db", "names", "names.copy"),
)
STORE_NAMES = {b"journal", b"empty", b"followed"}


def make_formats(_work: Path) -> Callable[[bytes], None]:
    """Each decoder, on these bytes and on the same with a right checksum."""

    def run(data: bytes) -> None:
        for content in (data, resealed(data), resealed_before(data)):
            with suppress(DecodeError):
                slot = decode_head_slot(content)
                if slot is not None:
                    encode_head_slot(slot.kind, slot.sequence, slot.head)
            with suppress(DecodeError):
                at_rest = decode_at_rest(content)
                assert decode_at_rest(encode_at_rest(at_rest)) == at_rest
            with suppress(DecodeError):
                held = decode_held(content)
                again = decode_held(encode_held(held))
                assert again[:3] == held[:3]
            with suppress(DecodeError):
                key, numbers = decode_numbers(content)
                assert decode_numbers(encode_numbers(key, numbers)) == (key, numbers)
            with suppress(DecodeError, InvalidProof):
                evidence = decode_evidence(content)
                assert encode_evidence(evidence) == content
                proven_histories(KEY_PAIR.public_key, evidence)

    return run


def formats_seeds() -> Iterable[bytes]:
    yield encode_evidence(two_histories())
    for template in templates():
        for name in ("head", "bitfield", "clean"):
            content = template.files.get(name)
            if content:
                yield content[:512]
    yield encode_numbers(bytes(32), {b"feed " + bytes(32): 1 << 40, b"": 7})


class Template(NamedTuple):
    """The files of a feed as a run has left them, and what is true of it."""

    is_owned: bool
    is_clean: bool
    files: dict[str, bytes]


def _contents(files: Files, path: str) -> dict[str, bytes]:
    return {name: files.read(f"{path}/{name}") for name in files.listdir(path)}


def _template(*, is_owned: bool, is_clean: bool, holds: int) -> Template:
    source = create_owned(MemoryFiles())
    for block in BLOCKS:
        source.append([block])
    source.sync()
    log = source
    if not is_owned:
        log = create_followed(MemoryFiles())
        upgrade(source, log)
        for index in range(holds):
            fetch_block(source, log, index)
        log.sync()
    files = log.directory.files
    if is_clean:
        log.close()
    return Template(is_owned, is_clean, _contents(files, log.directory.path))


_TEMPLATES: list[Template] = []


def templates() -> list[Template]:
    """Owned and followed, left cleanly or killed, whole and with missing blocks."""
    if not _TEMPLATES:
        _TEMPLATES.extend(
            _template(is_owned=is_owned, is_clean=is_clean, holds=holds)
            for is_owned, holds in ((True, 13), (False, 13), (False, 5))
            for is_clean in (True, False)
        )
    return _TEMPLATES


def make_feed(_work: Path) -> Callable[[bytes], None]:
    """A feed one file of which holds something else: it is opened, read, written, opened again.

    No block is shown that the key has not signed, the key stays, and no history but the one that
    was signed goes on: what is appended stands behind a prefix of it.
    """
    logging.disable(logging.CRITICAL)

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        template = chooser.pick(templates())
        name = chooser.pick(sorted({*template.files, *OTHER_FEED_FILES}))
        original = template.files.get(name, b"")
        changed = chooser.rest() if chooser.number(4) == 0 else edited(original, chooser)
        content = {**template.files, name: changed}
        files = _files_with(content)
        with suppress(StoreError):
            log = Log.open(directory(files))
            _check_shown(log)
            _load_beside(log)
            if template.is_owned:
                _append(log)
            log.close()
            _check_shown(reopen(files))
        if template.is_owned and name != "secret":
            assert files.read(f"{directory(files).path}/secret") == SEED

    return run


def _files_with(content: dict[str, bytes]) -> MemoryFiles:
    files = MemoryFiles()
    place = directory(files)
    place.mkdir()
    for name, data in content.items():
        file = files.open(f"{place.path}/{name}", create=True)
        file.pwrite(data, 0)
        file.fdatasync()
        file.close()
    place.sync_place()
    return files


def _check_shown(log: Log) -> None:
    read_at_rest(log.directory)
    assert log.length <= len(BLOCKS) + 1
    for index in range(min(log.length, len(BLOCKS))):
        try:
            block = log.block(index)
        except (StoreError, BlockUnavailable):
            continue
        assert block is None or block == BLOCKS[index], index
    with suppress(StoreError, BlockUnavailable):
        content = log.read(0, log.byte_length)
        assert DATA.startswith(content[: len(DATA)])


def _load_beside(log: Log) -> None:
    with suppress(StoreError):
        Conflicts().load(log)
    KnownHead().load(log)


def _append(log: Log) -> None:
    if log.may_lack_heads:  # those who append ask other holders first
        return
    length = log.length
    with suppress(StoreError, NotWritable):
        log.append([NEW_BLOCK])
        log.sync()
        assert log.length == length + 1
        assert log.block(length) == NEW_BLOCK
        assert length == len(BLOCKS), "what was durable is appended to, and nothing else"


def feed_seeds() -> Iterable[bytes]:
    for template in range(6):
        for name in range(len(templates()[template].files) + len(OTHER_FEED_FILES)):
            yield bytes([template, name, 1, 1, 20, 0, 1, 0])
            yield bytes([template, name, 1, 0, 1, 9, 0])
            yield bytes([template, name, 1, 1, 70, 0, 1, 3])
            yield bytes([template, name, 0])


async def _make_feeds(feeds: Feeds) -> None:
    owned = await feeds.create(b"journal")
    owned.log.append(BLOCKS)
    owned.log.sync()
    await feeds.create(b"empty")
    await feeds.follow(FEED_ID, b"followed")
    feeds.close()


def make_store(work: Path) -> Callable[[bytes], None]:
    """A store on a real file system one file of which holds something else, opened and listed.

    The keys of its feeds stay, and so do their blocks.
    """
    logging.disable(logging.CRITICAL)
    made, used = work / "made", work / "used"
    with Store(made) as store:
        trio.run(_make_feeds, Feeds(store, Options()))
    precious = {
        path.relative_to(made): path.read_bytes()
        for path in made.rglob("*")
        if path.name in ("secret", "data")
    }

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        name = chooser.pick(STORE_FILES)
        shutil.rmtree(used, ignore_errors=True)
        shutil.copytree(made, used)
        path = used / name
        original = path.read_bytes() if path.exists() else b""
        path.write_bytes(chooser.rest() if chooser.number(4) == 0 else edited(original, chooser))
        with suppress(ProtozorfsError), Store(used) as store:
            feeds = Feeds(store, Options())
            assert {name for name, _ in feeds.names()} == STORE_NAMES
            for _, feed in feeds.names():
                assert feed.state
                assert feed.length in (0, len(BLOCKS))
            feeds.close()
        for kept, content in precious.items():
            assert (used / kept).read_bytes() == content

    return run


def store_seeds() -> Iterable[bytes]:
    for name in range(len(STORE_FILES)):
        yield bytes([name, 1, 1, 20, 0, 1, 0])
        yield bytes([name, 1, 3, 100, 0, 1, 24, 0, 255, 60, 0, 7, 0])
        yield bytes([name, 1, 0, 1, 9, 0])
        yield bytes([name, 0]) + b"anything"


HARNESSES = (
    Harness("disk-formats", make_formats, formats_seeds),
    Harness("feed-files", make_feed, feed_seeds, 1024),
    Harness("store-files", make_store, store_seeds, 1024),
)
