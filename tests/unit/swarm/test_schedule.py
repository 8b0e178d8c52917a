"""The upkeep of feeds on the DHT, on virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter

import pytest

from protozorfs.dht.budget import Priority
from protozorfs.swarm.schedule import (
    ANNOUNCE_INTERVAL,
    FIRST_RETRY,
    HEAD_INTERVAL,
    MAX_RUNNING,
    MIN_PUT_INTERVAL,
    READER_RETRY,
    REOPEN_RETRY,
    Job,
    Schedule,
    Upkeep,
)
from protozorfs.types import FeedId

JOB_SECONDS = 1.5  # a lookup of 40 packets on a network with 50 ms and some dead nodes
JOB_PACKETS = 40
RATE = 50


def feed_id(number: int) -> FeedId:
    return FeedId(number.to_bytes(32, "big"))


class Runner:
    """Runs the jobs of a schedule in virtual time; each takes JOB_SECONDS, or its packets' time."""

    def __init__(self, schedule: Schedule, *, finds: bool) -> None:
        self.schedule = schedule
        self.finds = finds
        self.now = 0.0
        self.started: list[tuple[float, Job]] = []
        self._ends: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._free_at = 0.0  # when the packets of all jobs so far have left

    def run_until(self, end: float) -> None:
        while True:
            for job in self.schedule.next_jobs(self.now):
                self.started.append((self.now, job))
                self._free_at = max(self.now, self._free_at) + JOB_PACKETS / RATE
                over = max(self.now + JOB_SECONDS, self._free_at)
                heapq.heappush(self._ends, (over, next(self._numbers), job))
            deadline = self.schedule.next_deadline()
            times = [time for time in (deadline, self._ends[0][0] if self._ends else None) if time]
            if not times or min(times) > end:
                self.now = end
                return
            self.now = max(self.now, min(times))
            while self._ends and self._ends[0][0] <= self.now:
                _, _, job = heapq.heappop(self._ends)
                self.schedule.done(job, self.now, found=self.finds)


def test_a_single_feed_is_looked_for_at_once() -> None:
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=False, now=0.0)
    jobs = schedule.next_jobs(0.0)
    assert {job.upkeep for job in jobs} == set(Upkeep)
    assert {job.priority for job in jobs} == {Priority.FOLLOWED}
    assert schedule.is_searching(feed_id(1))
    for job in jobs:
        schedule.done(job, 2.0, found=False)
    assert not schedule.is_searching(feed_id(1))


def test_a_head_is_published_at_once_and_then_every_few_seconds() -> None:
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=True, now=0.0)
    runner = Runner(schedule, finds=True)
    runner.run_until(100.0)
    runner.started.clear()
    for step in range(600):
        runner.run_until(100.0 + step / 10)
        schedule.head_grew(feed_id(1), runner.now)
    runner.run_until(200.0)
    puts = [at for at, job in runner.started if job.upkeep is Upkeep.HEAD]
    assert puts[0] == pytest.approx(100.0, abs=0.2)
    gaps = [later - earlier for earlier, later in itertools.pairwise(puts)]
    assert min(gaps) >= MIN_PUT_INTERVAL
    assert max(gaps) <= MIN_PUT_INTERVAL + JOB_SECONDS + 0.2
    assert schedule.next_deadline() is not None
    assert len(schedule._heap) < 10, "appends do not pile up"


def test_a_served_feed_is_put_hourly_and_announced_every_twenty_minutes() -> None:
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=False, now=0.0)
    schedule.connected(feed_id(1), True, 0.0)
    runner = Runner(schedule, finds=True)
    runner.run_until(24 * 3600.0)
    counts = Counter(job.upkeep for _, job in runner.started)
    assert counts[Upkeep.HEAD] == pytest.approx(24 * 3600 / HEAD_INTERVAL, abs=3)
    assert counts[Upkeep.PEERS] == pytest.approx(24 * 3600 / ANNOUNCE_INTERVAL, abs=8)


def test_a_feed_without_anybody_is_looked_for_less_and_less() -> None:
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=False, now=0.0)
    runner = Runner(schedule, finds=False)
    runner.run_until(24 * 3600.0)
    tries = [at for at, job in runner.started if job.upkeep is Upkeep.PEERS]
    assert tries[1] <= 2 * FIRST_RETRY
    assert 24 * 4 - 10 < len(tries) < 24 * 4 + 20


@pytest.mark.parametrize("is_owned", [True, False])
def test_what_is_not_done_is_tried_again_soon_whoever_is_connected(is_owned: bool) -> None:
    """No network when a head was to be put, or an owner that is there and has put none yet."""
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=is_owned, now=0.0)
    schedule.connected(feed_id(1), True, 0.0)
    runner = Runner(schedule, finds=False)
    runner.run_until(600.0)
    for upkeep in Upkeep:
        assert sum(job.upkeep is upkeep for _, job in runner.started) >= 7
    runner.started.clear()
    runner.run_until(24 * 3600.0)
    assert sum(job.upkeep is Upkeep.HEAD for _, job in runner.started) <= 24 + 5


def test_an_owned_feed_without_peers_looks_for_them_as_others_do() -> None:
    """Nobody may be able to dial us: then a new follower is met only by looking."""
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=True, now=0.0)
    runner = Runner(schedule, finds=True)
    runner.run_until(600.0)
    assert sum(job.upkeep is Upkeep.PEERS for _, job in runner.started) >= 7
    assert sum(job.upkeep is Upkeep.HEAD for _, job in runner.started) == 1


def test_the_first_head_is_put_at_once() -> None:
    """Also when the feed was made a moment before, and its first turn found nothing to put."""
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=True, now=0.0)
    jobs = schedule.next_jobs(0.0)
    schedule.head_grew(feed_id(1), 0.1)
    schedule.nothing_put(feed_id(1))
    for job in jobs:
        schedule.done(job, 0.2, found=True)
    assert Job(feed_id(1), Upkeep.HEAD, Priority.OWNED, 0) in schedule.next_jobs(0.2)


def test_a_reader_that_waits_is_served_before_others_and_often() -> None:
    schedule = Schedule(random.Random(1))
    for number in range(1, 3000):
        schedule.add(feed_id(number), is_owned=False, now=0.0)
    runner = Runner(schedule, finds=False)
    runner.run_until(5000.0)
    schedule.reader_waits(feed_id(7), runner.now)
    start = runner.now
    runner.run_until(start + 600.0)
    turns = [
        at - start
        for at, job in runner.started
        if at >= start and job.feed_id == feed_id(7) and job.upkeep is Upkeep.PEERS
    ]
    assert turns[0] < 10.0, "others were under way, but none is started before it"
    assert len(turns) >= 600 / READER_RETRY
    schedule.reader_gone(feed_id(7))


def test_a_removed_feed_has_no_more_turns() -> None:
    schedule = Schedule(random.Random(1))
    for number in range(20):
        schedule.add(feed_id(number), is_owned=number % 2 == 0, now=0.0)
    jobs = schedule.next_jobs(0.0)
    for number in range(20):
        schedule.remove(feed_id(number))
    for job in jobs:
        schedule.done(job, 1.0, found=True)
    assert schedule.next_jobs(1e6) == []
    assert schedule.next_deadline() is None
    assert len(schedule) == 0


def test_ten_thousand_feeds_over_a_day() -> None:
    """Never more work than the budget does, evenly spread, our own first, all the rest equally."""
    feeds, hours = 10_000, 24
    owned = feeds // 100
    schedule = Schedule(random.Random(2))
    for number in range(feeds):
        schedule.add(feed_id(number), is_owned=number < owned, now=0.0)
        if number >= owned:
            schedule.connected(feed_id(number), True, 0.0)
    runner = Runner(schedule, finds=True)
    runner.run_until(hours * 3600.0)

    per_hour = Counter(int(at // 3600) for at, _ in runner.started)
    possible = 3600 * RATE / JOB_PACKETS
    assert max(per_hour.values()) <= possible * 1.02
    assert min(per_hour.values()) >= possible * 0.9, "what may be spent is spent, hour by hour"
    per_minute = Counter(int(at // 60) for at, _ in runner.started)
    assert max(per_minute.values()) <= possible / 60 + max(MAX_RUNNING.values())

    turns = Counter(int.from_bytes(job.feed_id, "big") for _, job in runner.started)
    wanted_turns = hours * (3600 / HEAD_INTERVAL + 3600 / ANNOUNCE_INTERVAL)
    assert min(turns[number] for number in range(owned)) >= 0.85 * wanted_turns
    rest = [turns[number] for number in range(owned, feeds)]
    mean = sum(rest) / len(rest)
    assert min(rest) >= mean - 4
    assert max(rest) <= mean + 4
    share = schedule.refreshed_share(runner.now)
    print(f"{feeds} feeds: {mean / hours:.2f} turns per feed and hour, {share:.0%} fresh")
    assert share > 0.2


def test_a_feed_that_is_back_has_turns_of_its_own() -> None:
    """What was begun before it was let go tells nothing about it, and puts nothing off."""
    schedule = Schedule(random.Random(1))
    schedule.add(feed_id(1), is_owned=False, now=0.0)
    old = schedule.next_jobs(0.0)
    schedule.remove(feed_id(1))
    schedule.add(feed_id(1), is_owned=False, now=1.0)
    for job in old:
        schedule.done(job, 1.1, found=False)
    assert schedule.is_searching(feed_id(1))
    new = schedule.next_jobs(1.1)
    assert {job.upkeep for job in new} == set(Upkeep)
    for job in new:
        schedule.done(job, 2.0, found=False)
    assert not schedule.is_searching(feed_id(1))


def test_opens_of_an_unknown_feed_are_looked_into_at_once_and_not_all_the_time() -> None:
    schedule = Schedule(random.Random(1))
    for number in range(1, 3000):
        schedule.add(feed_id(number), is_owned=False, now=0.0)
    schedule.head_wanted(feed_id(7), 0.0)  # its first turn would come within 15 minutes
    runner = Runner(schedule, finds=False)
    for second in range(1, 601):
        runner.run_until(float(second))
        if not schedule.is_searching(feed_id(7)):
            schedule.reader_gone(feed_id(7))
            schedule.head_wanted(feed_id(7), runner.now)
    turns = [at for at, job in runner.started if job == Job(feed_id(7), Upkeep.HEAD, *job[2:])]
    assert turns[0] == 0.0
    assert 600 / (2 * REOPEN_RETRY) <= len(turns) <= 600 / REOPEN_RETRY + 1
