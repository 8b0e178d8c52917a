"""The files of a whole store, cut at every operation of a workload, and in lives drawn from seeds.

`store_life` and `random_store_life`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.simulation.judge import Violation
from tests.simulation.log_life import told
from tests.simulation.random_store_life import StoreLife
from tests.simulation.store_life import NO_CHANGES, Trial, moments_of
from tests.simulation.store_process import new_source
from tests.simulation.store_scenarios import SCENARIOS, life
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from tests.simulation.store_scenarios import Scenario

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROUNDS = 4
MIN_OPERATIONS = 300
STEPS = 40
STATES = long_or_short(20, 1)  # different ones at each operation, where there are so many
SEEDS = range(long_or_short(10, 1))
EVERY = long_or_short(1, 4)  # operation is one to cut at
FEWER = long_or_short(1, 10)  # of those of a store that something befell before


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_that_is_cut_anywhere_keeps_its_promises(seed: int) -> None:
    source = new_source()
    moments = moments_of(source, seed, ROUNDS)
    assert len(moments) > MIN_OPERATIONS
    try:
        figures = Trial(source).run(moments[::EVERY], STATES, seed)
    except Violation as violation:
        print(told(violation))
        raise
    print(figures)
    assert figures.states >= figures.moments * 2  # one after a kill, and one or more after a cut


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS.values() if each is not life])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_befell_a_store_before_breaks_no_promise(scenario: Scenario, seed: int) -> None:
    source = new_source()
    moments = scenario(source, seed, NO_CHANGES)
    try:
        figures = Trial(source, has_flips=False).run(moments[::FEWER], STATES, seed)
    except Violation as violation:
        print(told(violation))
        raise
    print(figures)
    assert figures.states >= figures.moments * 2


def test_no_life_of_a_store_breaks_a_rule() -> None:
    first = long_or_short(random.randrange(1 << 32), 0)
    print("seeds from", first)
    states = flips = errors = 0
    for seed in range(first, first + long_or_short(3000, 100)):
        life = StoreLife(seed)
        try:
            life.run(STEPS)
        except Violation as violation:
            print("seed", seed, told(violation))
            raise
        states += life.states
        flips += life.flips
        errors += life.errors
    print(f"{states} states, {flips} of them with a wrong bit, {errors} errors")
    assert min(states, flips, errors) > 0
