"""What operations that store add to their search. Source: BEP 5, BEP 44; docs/dht.md."""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import TYPE_CHECKING

from protozorfs.dht.operations import Kind, Operation, Question, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.dht.endpoint import Family
    from protozorfs.dht.lookup import Candidate, Lookup


class Storing(Operation, abc.ABC):
    """What operations that store add to their search."""

    _storers: frozenset[Candidate] = frozenset()  # that have taken it
    _has_begun = False
    _reserves: dict[Family, list[Candidate]]  # next in rank; made when the search is over

    @property
    def stored_count(self) -> int:
        """How many nodes have taken it, or had it already."""
        return len(self._storers)

    @property
    def has_begun_storing(self) -> bool:
        """Whether a node was, or is about to be, sent what is to be stored."""
        return self._has_begun

    def _store_at_nearest(self) -> None:
        self._reserves = {}
        for family, lookup in self._lookups.items():
            chosen = lookup.storing_candidates()
            for candidate in chosen:
                self._queue(family, candidate, Kind.STORE, self._store_question(candidate))
            self._reserves[family] = [
                candidate
                for candidate in lookup.answered()
                if candidate.token is not None and candidate not in chosen
            ]

    def _queue(self, family: Family, candidate: Candidate, kind: Kind, question: Question) -> None:
        self._has_begun |= kind is Kind.STORE
        self._extra.append(Request(self, family, candidate, kind, *question))

    def _on_stored(self, candidate: Candidate) -> None:
        self._storers |= {candidate}

    def _on_unanswered_store(self, request: Request) -> None:
        """The node answered a moment ago: sends it once more, then to the next in rank."""
        if request.is_repeated:
            self._on_refused(request, None)
        else:
            self._extra.append(replace(request, is_repeated=True))

    def _on_refused(self, request: Request, code: int | None) -> None:
        """The node one rank further out takes the place of one that failed."""
        reserves = self._reserves.get(request.family)
        if reserves:
            candidate = reserves.pop(0)
            question = self._store_question(candidate)
            self._queue(request.family, candidate, Kind.STORE, question)

    @abc.abstractmethod
    def _store_question(self, candidate: Candidate) -> Question:
        """Method and arguments of the store at one node."""


def closest_holders(lookups: Iterable[Lookup], seq: int) -> tuple[int, bool]:
    """How many nodes say that they hold an item of that seq, and whether all the nearest do."""
    holders = 0
    all_nearest = True
    for lookup in lookups:
        holders += sum(candidate.seq == seq for candidate in lookup.answered())
        nearest = lookup.storing_candidates()
        all_nearest &= bool(nearest) and all(candidate.seq == seq for candidate in nearest)
    return holders, all_nearest
