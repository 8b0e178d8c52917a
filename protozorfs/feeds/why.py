"""What a waiting reader waits for, in one true sentence. A view of `wants` and of facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.feeds.facts import FeedFacts, FeedReport, PeerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.feeds.facts import Informant, LanFacts, LinkFacts, PeerFacts, SearchFacts
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.wants import AskedOf

AT_REST = "nobody waits: "  # how the sentence begins when that is so
MAX_NAMED = 3  # peers that one sentence names
_MINUTE = 60
_HOUR = 3600


def make_report(feed: Feed, informant: Informant | None, now: float) -> FeedReport:
    """Everything that the status shows of a feed. `now`: seconds, monotonic."""
    if not feed.is_kept:  # nothing of it was found; to look at it must put nothing on the disk
        facts = FeedFacts() if informant is None else informant.feed_facts(feed, None)
        return FeedReport(
            head=None,
            held_blocks=0,
            contiguous_blocks=0,
            waiting=feed.waiting_count,
            why=explain(feed, facts, now),
            facts=facts,
        )
    log = feed.log
    block = _wanted_block(feed)
    facts = FeedFacts() if informant is None else informant.feed_facts(feed, block)
    return FeedReport(
        head=feed.known_head.head if feed.known_head.length > log.length else log.head,
        held_blocks=log.held.count(0, log.length),
        contiguous_blocks=log.contiguous_length,
        waiting=feed.waiting_count,
        why=explain(feed, facts, now),
        facts=facts,
    )


def explain(feed: Feed, facts: FeedFacts, now: float) -> str:
    """The sentence; it has no full stop, since it may be part of a longer one.

    That another history is signed is said in any case.
    """
    reason = _reason(feed, facts, now)
    frozen_why = feed.frozen_why
    return reason if frozen_why in reason else f"{reason}; {frozen_why}"


def _reason(feed: Feed, facts: FeedFacts, now: float) -> str:
    wants = feed.wants
    if len(wants):
        return _missing(feed, facts, now)
    if len(wants.for_head):
        waited = _waited("open", len(wants.for_head), now - wants.for_head.since)
        return f"the first head, {waited}: {_nobody_yet(facts)}"
    if len(wants.for_growth):
        waited = _waited("reader", len(wants.for_growth), now - wants.for_growth.since)
        return f"block {feed.length}, the next one, {waited}: {_growth(feed, facts)}"
    if feed.writer.refusal is not None:
        return f"appends are refused: {feed.writer.refusal}"
    if feed.is_unknown and not feed.is_frozen:
        return f"{AT_REST}no head is known yet; {_nobody_yet(facts)}{_advice(facts)}"
    return f"{AT_REST}{_at_rest(feed)}"


def _wanted_block(feed: Feed) -> int | None:
    """The block that the first reader waits for, if its position in the tree is known."""
    return next((want.missing_block for want in feed.wants if not want.done.is_set()), None)


def _missing(feed: Feed, facts: FeedFacts, now: float) -> str:
    wants = feed.wants
    waited = _waited("reader", len(wants), now - next(iter(wants)).since)
    block = _wanted_block(feed)
    if block is not None and block < feed.log.length:
        what, asked = f"block {block}", wants.asked.get(block, ())
    else:
        what, asked = f"the tree of the newest head, of length {feed.length}", ()
    return f"{what}, {waited}: {_obstacle(feed, facts, asked, now)}"


def _obstacle(feed: Feed, facts: FeedFacts, asked: Sequence[AskedOf], now: float) -> str:
    if feed.is_frozen:
        return f"the feed is frozen, since {feed.frozen_why}: nothing is fetched"
    if not feed.may_fetch():
        return "the disk is nearly full, so fetching is paused"
    first = next((want for want in feed.wants if not want.done.is_set()), None)
    if first is not None and not first.is_admitted:
        return "what other readers wait for comes first, since cache_size has no room for all"
    if asked:
        return "asked of " + _joined([f"{one.peer} {_time(now - one.since)} ago" for one in asked])
    if not facts.links:
        return _nobody_connected(facts)
    having = [link for link in facts.links if link.has_wanted]
    if not having:
        return f"{_connected(facts.links)}, none has it{_asked(facts)}"
    if all(link.trouble for link in having):
        return _joined([f"{link.name} has it but {link.trouble}" for link in having])
    ready = next(link.name for link in having if not link.trouble)
    return f"{ready} has it, and is asked as soon as what was asked before has come"


def _growth(feed: Feed, facts: FeedFacts) -> str:
    if feed.is_owned:
        why = feed.frozen_why
        return f"none comes, since {why}" if why else "it comes with the next append"
    if feed.is_frozen:
        return f"the feed is frozen, since {feed.frozen_why}: nothing is fetched"
    if not facts.links:
        return _nobody_connected(facts)
    if feed.remote_length > feed.length:
        return f"{_connected(facts.links)}, a head of length {feed.remote_length} is being fetched"
    return f"{_connected(facts.links)}, none knows of it"


def _at_rest(feed: Feed) -> str:
    log = feed.log
    if feed.is_frozen:
        return f"the feed is frozen, since {feed.frozen_why}"
    if feed.length == 0:
        return "nothing was appended yet"
    missing = feed.length - log.held.count(0, log.length)
    if not missing:
        return (
            "its only block is here" if feed.length == 1 else f"all {feed.length} blocks are here"
        )
    if feed.is_owned:
        return f"{missing} of {feed.length} blocks are damaged, or were written elsewhere"
    until = "are being fetched" if feed.is_whole else "are fetched when they are read"
    if feed.is_read_only:
        until = "are not fetched, since the store is open read-only"
    elif not feed.may_fetch():
        until = "are not fetched, since the disk is nearly full"
    return f"{missing} of {feed.length} blocks are missing and {until}"


def _nobody_yet(facts: FeedFacts) -> str:
    """What stands between us and a first head."""
    if facts.links:
        return f"{_connected(facts.links)}, none has told one{_asked(facts)}"
    return _nobody_connected(facts)


def _advice(facts: FeedFacts) -> str:
    """What to do about a feed of which nothing is known."""
    if facts.links:
        return "; it is known as soon as its owner appends to it"
    return "; see that somebody who has it is up, or name its address with peer=HOST:PORT"


def _nobody_connected(facts: FeedFacts) -> str:
    others = [_describe(peer) for peer in facts.others]
    known = _joined(others) if others else "no other is known"
    return f"no peer that has the feed is connected; {known}{_asked(facts)}"


def _describe(peer: PeerFacts) -> str:
    if peer.state is PeerState.CONNECTED:
        return f"{peer.address} is connected, but has not opened it"
    if peer.state is PeerState.DIALLING:
        return f"{peer.address} is being dialled"
    why = f" ({peer.why})" if peer.why else ""
    if peer.retry_seconds is None:
        return f"{peer.address} is left alone{why}"
    soon = "at once" if peer.retry_seconds <= 0 else f"in {_time(peer.retry_seconds)}"
    return f"{peer.address} is dialled {soon}{why}"


def _asked(facts: FeedFacts) -> str:
    """Who was asked besides the peers that are known."""
    return _search(facts.search) + _lan(facts.lan)


def _lan(lan: LanFacts | None) -> str:
    if lan is None:
        return ""
    if not lan.has_links:
        return "; no local network can be used"
    if lan.may_answer:
        return "; the local network is being asked"
    if lan.asked_seconds is None:
        return "; the local network was not asked yet"
    return f"; the local network was asked {_time(lan.asked_seconds)} ago"


def _search(search: SearchFacts | None) -> str:
    if search is None:
        return ""
    if not search.is_online:
        return "; no DHT node answers"
    if search.is_running:
        return "; the DHT is being asked"
    if search.done_seconds is None:
        return "; the DHT was not asked yet"
    return f"; the DHT was asked {_time(search.done_seconds)} ago"


def _connected(links: Sequence[LinkFacts]) -> str:
    return "1 peer is connected" if len(links) == 1 else f"{len(links)} peers are connected"


def _waited(who: str, count: int, seconds: float) -> str:
    if count == 1:
        return f"for which 1 {who} has waited {_time(seconds)}"
    return f"for which {count} {who}s have waited up to {_time(seconds)}"


def _joined(texts: Sequence[str]) -> str:
    left = len(texts) - MAX_NAMED
    return ", ".join(texts[:MAX_NAMED]) + (f" and {left} more" if left > 0 else "")


def _time(seconds: float) -> str:
    """A length of time with one unit."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h"
