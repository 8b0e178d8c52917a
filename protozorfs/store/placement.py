"""The files `place` of a store: kept beside a key, compared with what there is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import DecodeError
from protozorfs.store.files import write_new
from protozorfs.store.place import (
    Place,
    decode_place,
    displacement,
    encode_place,
    key_place,
    standing_place,
    written_place,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from protozorfs.store.files import Files
    from protozorfs.store.place import FilePlace, Stamp

# The node's key says nothing of feeds: a store that was restored over itself is the same node.
PLACED_WITH_NODE: Mapping[str, Callable[[Stamp], FilePlace]] = {"node_key": standing_place}
PLACED_WITH_FEED: Mapping[str, Callable[[Stamp], FilePlace]] = {
    "secret": key_place,
    "head": standing_place,
    "data": written_place,
    "tree": written_place,
}


class Placement:
    """What tells one key, with the files that belong to it, from a copy or a restored one."""

    def __init__(
        self,
        files: Files,
        kept: str,
        directory: str,
        kinds: Mapping[str, Callable[[Stamp], FilePlace]],
    ) -> None:
        """
        Args:
            files: the store's.
            kept: the path of the file `place`.
            directory: where the others are; "" or a path that ends with a slash.
            kinds: their names, and what of each is kept; the key's is the first.
        """
        self._files = files
        self._kept = kept
        self._directory = directory
        self._kinds = kinds

    def displacement(self, but: Container[str] = ()) -> str:
        """Why they may not be where and as the store left them; empty if they are.

        Files `but` some are compared.

        Raises:
            OSError: that cannot be told now.
        """
        try:
            kept = self._known()
        except FileNotFoundError:
            return f"it was found out of its place before, or there never was a file {self._kept}"
        except DecodeError as error:
            return f"the file {self._kept} is of no use: {error}"
        files = {name: place for name, place in kept.files.items() if name not in but}
        return displacement(kept._replace(files=files), self._now())

    def is_known(self) -> bool:
        """Whether it is said at all where they were."""
        try:
            self._known()
        except (FileNotFoundError, DecodeError):
            return False
        return True

    def _known(self) -> Place:
        return decode_place(self._files.read(self._kept), next(iter(self._kinds)))

    def keep(self) -> None:
        """Takes the place where they are now for theirs; durable on return.

        Raises:
            StoreFull, OSError
        """
        content = encode_place(self._now())
        with suppress(FileNotFoundError):
            if self._files.read(self._kept) == content:
                return
        self._files.replace(self._kept, content)

    def forget(self) -> None:
        """They are in no place until `keep` is called."""
        with suppress(FileNotFoundError):
            self._files.remove(self._kept)

    def begin(self) -> None:
        """Takes the place of new files for theirs; durable once their directory is."""
        write_new(self._files, self._kept, encode_place(self._now()))

    def _now(self) -> Place:
        found = {}
        for name, kind in self._kinds.items():
            with suppress(FileNotFoundError):
                found[name] = kind(self._files.stamp(f"{self._directory}{name}"))
        return Place(self._files.whereabouts(), found)
