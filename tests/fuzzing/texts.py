"""What a user, another process or a stranger writes: IDs, names, options, locks, evidence."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs import ids, names
from protozorfs.cli.options import (
    HelpWanted,
    parse_mount_command,
    parse_node_options,
    split_options,
)
from protozorfs.cli.text import printable, printable_text
from protozorfs.errors import DecodeError, InvalidName, UsageError
from protozorfs.store.lock import LOCK_FILE, read_holder
from tests.evidence_verifier import said_of
from tests.fuzzing.harness import Chooser, Harness
from tests.unit.feeds.evidence_texts import SAID, TEXTS
from tests.unit.log.log_tools import KEY_PAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

WORDS = (
    *("port=4000", "peer=[::1]:1", "bootstrap=h:1", "nodht", "sparse", "cache_size=2G", "scrub"),
    *("read_timeout=5", "live_from=end", "fsname=x", "ro", "allow_other", "debug=fs:dht"),
)


def make_text(_work: Path) -> Callable[[bytes], None]:
    """IDs, names and command lines; and what they are printed as."""

    def run(data: bytes) -> None:
        text = os.fsdecode(data)
        _check_id(text, data)
        _check_name(data)
        for shown in (printable(data), printable_text(text)):
            assert shown.isprintable()
        words = split_options(text)
        assert all(words)
        with suppress(UsageError):
            parse_node_options(words)
        arguments = [word for word in text.split("\n") if "\0" not in word]
        with suppress(UsageError, HelpWanted):
            parse_mount_command(arguments, {})

    return run


def _check_id(text: str, data: bytes) -> None:
    try:
        feed_id = ids.parse_feed_id(text)
    except DecodeError:
        assert names.feed_id_of_name(data) is None
        return
    assert text.lower() in (ids.format_hex(feed_id), ids.format_zbase32(feed_id))
    assert ids.parse_feed_id(ids.format_zbase32(feed_id)) == feed_id


def _check_name(name: bytes) -> None:
    with suppress(InvalidName):
        names.check_new_name(name)
        assert 0 < len(name) < 256
        assert not {0, 0x2F} & set(name)
    live = names.split_live_name(name)
    assert live is None or name.startswith(live[0] + b"@")


def text_seeds() -> Iterable[bytes]:
    feed_id = KEY_PAIR.public_key
    yield feed_id.hex().encode()
    yield ids.format_zbase32(feed_id).encode()  # type: ignore[arg-type]
    yield b"journal@12"
    yield b".live"
    yield from (word.encode() for word in WORDS)
    yield b"-o\n" + ",".join(WORDS).encode() + b"\nSTORE\n/mnt"


def make_lock(work: Path) -> Callable[[bytes], None]:
    """The lock of a store, which another process writes while it is read."""

    def run(data: bytes) -> None:
        (work / LOCK_FILE).write_bytes(data)
        holder = read_holder(work)
        assert holder.pid is None or isinstance(holder.pid, int)
        assert holder.mount_point is None or isinstance(holder.mount_point, str)

    return run


def lock_seeds() -> Iterable[bytes]:
    yield b'{"pid": 4711, "mount_point": "/home/a/feeds"}'
    yield b'{"pid": 4711, "mount_point": null}'
    yield b'{"pid": 1, "mount_point": "\\udcff/\\ud800"}'


def make_evidence(_work: Path) -> Callable[[bytes], None]:
    """Exported evidence, and a document that a stranger has changed in a few places."""
    true_sentences = {f"The key signed {said}." for said in SAID.values()}

    def run(data: bytes) -> None:
        said_of(data)
        chooser = Chooser(data)
        text = bytearray(chooser.pick(list(TEXTS.values())).encode())
        for _ in range(chooser.number(4)):
            at = chooser.number(len(text))
            text[at : at + chooser.number(3)] = chooser.part(63)
        said = said_of(bytes(text))
        assert said is None or set(said) <= true_sentences

    return run


def evidence_seeds() -> Iterable[bytes]:
    for number, text in enumerate(TEXTS.values()):
        yield text.encode()
        yield json.dumps(json.loads(text)).encode()
        yield bytes([number, 1, 60, 0, 1, 1, 0]) + b"1"


HARNESSES = (
    Harness("text", make_text, text_seeds, 512),
    Harness("lock", make_lock, lock_seeds, 512),
    Harness("evidence-text", make_evidence, evidence_seeds),
)
