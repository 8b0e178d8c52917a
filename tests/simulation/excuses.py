"""Changes of steps that no rule notices, and why they are harmless: what the trial has to show.

order     the step and the next one rest on nothing of each other: in many states between them and
          behind them no rule breaks
covered   another step does the same before anything depends on it: alone it is not missed in many
          states, and without both a rule breaks
idle      there is never anything to be done by it, as long as the other steps are there: at each
          time it is looked whether there is. It stays for a disk that fails, or another caller
softly    what it keeps is a hint; without it more is checked than must be, as the file is made for:
          in many states no rule breaks
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.simulation.mutations import Mutation, Sites

ORDER, COVERED, IDLE, SOFTLY = "order", "covered", "idle", "softly"


class Excuse(NamedTuple):
    """Why a change is harmless.

    Attributes:
        kind: of the steps that it is for.
        what: and their files.
        site: what their sites begin with.
        how: they are changed.
        name: of the reason, as above.
        by: "kind | what | site" of the steps that do the same, if others cover it.
    """

    kind: str
    what: str
    site: str
    how: str
    name: str
    by: str = ""

    def is_of(self, mutation: Mutation) -> bool:
        """Whether it is for that change."""
        (kind, what, site), how = mutation
        is_step = (kind, what, how) == (self.kind, self.what, self.how)
        return is_step and site.startswith(self.site)

    def others(self, sites: Sites) -> list[Mutation]:
        """The steps that cover it, removed."""
        found = []
        for mutation in sites.mutations():
            (kind, what, site), how = mutation
            if self.by and how == "removed" and f"{kind} | {what} | {site}".startswith(self.by):
                found.append(mutation)
        return found


EXCUSES: tuple[Excuse, ...] = ()


def excuse_of(mutation: Mutation) -> Excuse | None:
    """The excuse of a change, if there is one."""
    return next((excuse for excuse in EXCUSES if excuse.is_of(mutation)), None)
