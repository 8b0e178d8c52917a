"""protozorfs.cli.through_mount, where no mount is: what the system says becomes one sentence."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.cli.through_mount import MEANINGS, MountAccess
from protozorfs.errors import NameTaken, NoSuchFeed, ProtozorfsError, UsageError
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path

FEED_ID = FeedId(crypto.key_pair(bytes(32)).public_key)


def test_an_ordinary_directory_is_not_a_mount(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    access = MountAccess(tmp_path)
    with pytest.raises(UsageError, match="not a mount of protozorfs"):
        access.feeds()
    with pytest.raises(UsageError, match="not a mount of protozorfs"):
        access.feed_id_of(b"file")


def test_rm_unlinks_nothing_that_is_no_feed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(UsageError, match="not a mount of protozorfs"):
        MountAccess(tmp_path).remove(b"file")
    assert file.read_text() == "kept"


def test_a_missing_name_and_a_taken_one(tmp_path: Path) -> None:
    access = MountAccess(tmp_path)
    with pytest.raises(NoSuchFeed):
        access.feed_id_of(b"nothing")
    access.follow(FEED_ID, b"link")
    with pytest.raises(NameTaken):
        access.follow(FEED_ID, b"link")


@pytest.mark.parametrize("code", sorted(MEANINGS), ids=lambda code: errno.errorcode[code])
def test_every_meaning_is_an_error_with_a_sentence(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "symlink", refuse)
    kind, sentence = MEANINGS[code]
    with pytest.raises(ProtozorfsError) as caught:
        MountAccess(tmp_path).follow(FEED_ID, b"name")
    assert type(caught.value) is kind
    said = f"{tmp_path}: {sentence}" if kind is UsageError else sentence
    assert str(caught.value) == said
