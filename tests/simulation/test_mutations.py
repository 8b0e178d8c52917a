"""The simulation notices a step of durability that is missing, or in another order.

All of them are tried by `scripts/fsync-mutations`; here are some of each kind.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.simulation.mutations import Judgement, Mutant, Mutation, Sites, Step
from tests.simulation.store_process import new_source
from tests.simulation.store_scenarios import SCENARIOS

SCENARIO = "adopted"  # the shortest one
NEAR_STATES = 3

pytestmark = pytest.mark.crash


@cache
def steps() -> frozenset[Step]:
    mutant = Mutant(())
    SCENARIOS[SCENARIO](new_source(), 0, mutant)
    return frozenset(mutant.seen)


@pytest.mark.parametrize(
    ("kind", "what", "site", "how"),
    [
        ("sync", "data", "log/sync.py run:", "removed"),
        ("sync", "head", "log/sync.py run:", "removed"),
        ("sync", "clean.new", "store/layout.py mark_clean:", "removed"),
        ("sync", "place.new", "store/layout.py keep_place:", "removed"),
        ("sync_dir", "a feed", "store/layout.py unmark_clean:", "removed"),
        ("sync_dir", "a feed", "store/layout.py mark_clean:", "removed"),
        ("sync_dir", "the store", "store/layout.py adopt:", "removed"),
        ("remove", "clean", "store/layout.py unmark_clean:", "swapped"),
        ("write", "head", "log/feed.py commit:", "swapped"),
    ],
)
def test_a_step_that_is_missing_is_noticed(kind: str, what: str, site: str, how: str) -> None:
    (step,) = (one for one in steps() if one[:2] == (kind, what) and one.site.startswith(site))
    sites = Sites({step: frozenset([SCENARIO])}, frozenset())
    verdict = Judgement(sites, [Mutation(step, how)], NEAR_STATES).run(range(1))
    print(verdict)
    assert verdict.rule


def test_nothing_is_noticed_where_every_step_is_there() -> None:
    step = Step("sync", "data", "of nothing")
    sites = Sites({step: frozenset([SCENARIO])}, frozenset())
    assert not Judgement(sites, [Mutation(step, "removed")], NEAR_STATES).run(range(1)).rule
