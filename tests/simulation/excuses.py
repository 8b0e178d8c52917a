"""Changes of steps that no rule notices, and why they are harmless.

Each reason has a trial. What is said to be done by another step as well is noticed once that step
is removed, too. Where the order is said not to matter, every state behind it is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.simulation.mutations import Mutation, Sites


class Excuse(NamedTuple):
    """Why a change is harmless."""

    name: str

    def others(self, mutation: Mutation, sites: Sites) -> list[Mutation]:
        return []


def excuse_of(mutation: Mutation) -> Excuse | None:
    """The excuse of a change, if there is one."""
    return None
