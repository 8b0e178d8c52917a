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

ANY_FILE = ""
ORDER, COVERED, IDLE, SOFTLY = "order", "covered", "idle", "softly"


class Excuse(NamedTuple):
    """Why a change is harmless.

    Attributes:
        kind: of the steps that it is for.
        what: and their files, or `ANY_FILE`.
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
        is_step = (kind, how) == (self.kind, self.how) and self.what in (what, ANY_FILE)
        return is_step and site.startswith(self.site)

    def others(self, sites: Sites) -> list[Mutation]:
        """The steps that cover it, removed."""
        found = []
        for mutation in sites.mutations():
            (kind, what, site), how = mutation
            if self.by and how == "removed" and f"{kind} | {what} | {site}".startswith(self.by):
                found.append(mutation)
        return found


HEADS = "sync | head | log/sync.py run:"
CUT_NAMES = "sync | names | store/names.py cut:"
CUT_COPY = "sync | names.copy | store/names.py cut:"
APPENDED = "sync | names | store/names.py append:"
APPENDED_COPY = "sync | names.copy | store/names.py append:"
EXCUSES = (
    # The order of removals: none of them is what another one rests on.
    Excuse("remove", "names.db", "store/format.py were_made:", "swapped", ORDER),
    Excuse("remove", "names.new", "store/names.py renew:", "swapped", ORDER),
    Excuse("remove", "names.copy.new", "store/names.py renew:", "swapped", ORDER),
    # before_write syncs the directory once more, for the clean mark, before it writes.
    Excuse("remove", "place", "store/layout.py forget_place:", "swapped", ORDER),
    # Such a mark is durable once the feed is closed, and saves no more than a check.
    Excuse("rename", "clean", "log/feed.py end_rest:", "swapped", ORDER),
    # The making ends with a sync of the directory.
    Excuse("rename", "secret", "store/layout.py make:", "swapped", ORDER),
    Excuse("rename", "secret.copy", "store/layout.py make:", "swapped", ORDER),
    # The place is kept behind it, with one more sync of the directory.
    Excuse("rename", "secret", "store/keys.py mend_feed_seed:", "swapped", ORDER),
    # A feed is made durable once more when it is closed after a repair or a cut.
    Excuse("sync", "head", "log/feed_repair.py cut_feed:", "removed", COVERED, HEADS),
    Excuse("sync", "head", "log/head_check.py mend_heads:", "removed", COVERED, HEADS),
    # A feed at rest has a durable head, and that sync covers all of the file.
    Excuse("sync", "head", "log/resting.py run:", "removed", IDLE),
    # A change that was refused comes back only where both files have some of it.
    Excuse("sync", "names", "store/names.py cut:", "removed", COVERED, CUT_COPY),
    Excuse("sync", "names.copy", "store/names.py cut:", "removed", COVERED, CUT_NAMES),
    # What a file is written over with is what the other one holds, until there is a change.
    Excuse("sync", "names", "store/names.py _overwrite:", "removed", COVERED, APPENDED),
    Excuse("sync", "names.copy", "store/names.py _overwrite:", "removed", COVERED, APPENDED_COPY),
    # Nodes of blocks that are here are computed again.
    Excuse("sync", "tree", "log/feed_repair.py repair_feed:", "removed", SOFTLY),
    # Notes that are lost cost another look at some blocks.
    Excuse("sync", "bitfield.log", "log/check_steps.py run:", "removed", SOFTLY),
    Excuse("sync_dir", "a feed", "log/check_steps.py run:", "removed", SOFTLY),
    Excuse("sync_dir", "a feed", "log/files.py sync_notes:", "removed", SOFTLY),
    # What is counted beside a hole, or not noted, is found by a look at some blocks more.
    Excuse("write", "bitfield.log", "log/claim.py note_claim: `notes.note", "swapped", SOFTLY),
    Excuse("write", "bitfield.log", "log/feed.py drop:", "swapped", SOFTLY),
    # This copy is written over only where the other file has all that it is to have.
    Excuse("truncate", "names.copy", "store/names.py _overwrite:", "swapped", SOFTLY),
    # Most syncs come before another sync, or before a step that rests on nothing of them.
    Excuse("sync", ANY_FILE, "", "swapped", ORDER),
    Excuse("sync_dir", ANY_FILE, "", "swapped", ORDER),
)


def excuse_of(mutation: Mutation) -> Excuse | None:
    """The excuse of a change, if there is one."""
    return next((excuse for excuse in EXCUSES if excuse.is_of(mutation)), None)
