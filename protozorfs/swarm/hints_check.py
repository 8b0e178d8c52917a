"""Checks what the peer side keeps in a store between runs: contacts of the DHT, head records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.feeds.known_head import FILE_NAME as RECORD_FILE
from protozorfs.store.findings import Finding, Kind, Remedy, Severity
from protozorfs.store.layout import feed_path
from protozorfs.swarm.dht_state import FILE_NAME as DHT_FILE
from protozorfs.swarm.dht_state import decode_state
from protozorfs.swarm.head import decode_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store import Files
    from protozorfs.types import FeedId

CONTACTS_DAMAGED = Kind(
    code="contacts-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="the node starts on the DHT like a new one",
    advice="a repair removes the file",
)
RECORD_DAMAGED = Kind(
    code="record-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="the newest head that was seen on the DHT is forgotten; it is looked for again",
    advice="a repair removes the file",
)


def check_contacts(files: Files) -> Iterator[Finding]:
    """The contacts of the DHT."""
    try:
        decode_state(files.read(DHT_FILE))
    except FileNotFoundError:
        return
    except DecodeError as error:
        yield Finding(kind=CONTACTS_DAMAGED, path=DHT_FILE, what=str(error))


def check_record(files: Files, feed_id: FeedId) -> Iterator[Finding]:
    """The newest head record of a feed."""
    path = f"{feed_path(feed_id)}/{RECORD_FILE}"
    try:
        decode_kept(files.read(path), feed_id)
    except FileNotFoundError:
        return
    except (DecodeError, InvalidSignature) as error:
        yield Finding(kind=RECORD_DAMAGED, path=path, what=str(error), feed_id=feed_id)
