"""The words of the status: for people, and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.errors import StoreError
from protozorfs.feeds.ports import FeedState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.feeds.facts import (
        CheckFacts,
        FeedFacts,
        FeedReport,
        NodeFacts,
        PeerFacts,
        ScrubCounts,
        ScrubFacts,
    )
    from protozorfs.fs.ports import FeedsView, FeedView

MAX_LISTED = 50  # peers and waiting feeds in the text; status.json has all
_UNREADABLE = "unreadable"  # in place of a state: the store has lost something
_WHAT_HELPS: dict[str, str] = {
    FeedState.DAMAGED: "it takes no appends until a follower brings back what was lost;"
    " `protozorfs check` says what that is",
    _UNREADABLE: "it cannot be opened; `protozorfs check` says why, and what helps",
}


def status(feeds: FeedsView) -> str:
    """The status for people."""
    facts = feeds.node_facts()
    lines = [] if facts is None else _node_lines(facts)
    if feeds.surroundings.is_read_only:
        lines.append("store       read-only: nothing is written, fetched or served")
    trouble = feeds.surroundings.store_trouble()
    if trouble:
        lines.append(f"store       {trouble}")
    may_fetch = feeds.surroundings.may_fetch()
    space = "plenty" if may_fetch else "nearly none left, so that fetching is paused"
    lines.append(f"free space  {space}")
    check = feeds.check_facts()
    if check is not None:
        lines.append(f"check       {_check_sentence(check)}")
    scrub = feeds.scrub_facts()
    if scrub is not None:
        lines.append(f"scrub       {'; '.join(_scrub_phrases(scrub))}")
    lines += _feed_lines(feeds)
    if facts is not None and facts.peers:
        lines += ["", "peers", *(_peer_line(peer) for peer in facts.peers[:MAX_LISTED])]
        lines += _and_more(len(facts.peers))
    return "".join(f"{line}\n" for line in lines)


def _check_sentence(check: CheckFacts) -> str:
    done, left = check.bytes_done / 1e6, check.bytes_left / 1e6
    return (
        f"of what the last run left, behind the mount: {done:.0f} of about {done + left:.0f} MB,"
        f" {check.bytes_per_second / 1e6:.0f} MB/s, feeds left: {check.feeds_left}"
    )


def _scrub_phrases(scrub: ScrubFacts) -> list[str]:
    phrases = []
    if scrub.now is not None:
        done, left = scrub.now.bytes / 1e6, scrub.bytes_left / 1e6
        phrases.append(
            f"{done:.0f} of about {done + left:.0f} MB, {scrub.bytes_per_second / 1e6:.1f} MB/s,"
            f" feeds left: {scrub.feeds_left}, {_found_phrase(scrub.now)}"
        )
    if scrub.last is not None and scrub.ended_seconds is not None:
        phrases.append(
            f"the last one ended {_hours(scrub.ended_seconds)} ago: {scrub.last.bytes / 1e6:.0f} MB"
            f" of {scrub.last.feeds} feeds, {_found_phrase(scrub.last)}"
        )
    if scrub.next_seconds is not None:
        phrases.append(f"the next one begins in {_hours(scrub.next_seconds)}")
    return phrases


def _found_phrase(counts: ScrubCounts) -> str:
    found = [f"damaged blocks: {counts.damaged_blocks}"]
    if counts.mended_nodes:
        found.append(f"nodes of trees made good: {counts.mended_nodes}")
    if counts.failed_feeds:
        found.append(f"feeds that could not be read: {counts.failed_feeds} (see the log)")
    return ", ".join(found)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def _node_lines(facts: NodeFacts) -> list[str]:
    lines = [
        f"listens at  {', '.join(facts.addresses)}",
        f"reachable   {facts.reachability}",
    ]
    if facts.dht is None:
        lines.append("DHT         off")
    else:
        nodes = ", ".join(f"{count} by {family}" for family, count in facts.dht.nodes.items())
        share = f"{facts.dht.refreshed_share:.0%} of feeds had a turn in the last hour"
        lines.append(f"DHT         nodes that answer: {nodes or 'none'}; {share}")
    if facts.lan is None:
        lines.append("LAN         off")
    else:
        links = [f"{link} ({trouble})" if trouble else link for link, trouble in facts.lan.items()]
        lines.append(f"LAN         {', '.join(links) or 'no link can be used'}")
    return lines


def _feed_lines(feeds: FeedsView) -> list[str]:
    listed = feeds.names()
    states = [(name, _state(feed)) for name, feed in listed]  # reads evidence, where there is any
    counts = Counter(state for _, state in states)
    summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    lines = [f"feeds       {len(listed)}{': ' if listed else ''}{summary}"]
    frozen = [(name, feed.frozen_why) for name, feed in listed if feed.frozen_why]
    if frozen:
        lines += ["", "frozen; `protozorfs check --evidence NAME` prints the proof"]
        lines += [f"  {shown(name)}: {why}" for name, why in frozen[:MAX_LISTED]]
        lines += _and_more(len(frozen))
    damaged = [(name, _WHAT_HELPS[state]) for name, state in states if state in _WHAT_HELPS]
    if damaged:
        lines += ["", "damaged"]
        lines += [f"  {shown(name)}: {what_helps}" for name, what_helps in damaged[:MAX_LISTED]]
        lines += _and_more(len(damaged))
    waiting = [
        (name, report)
        for name, feed in listed
        if feed.waiting_count and (report := feeds.report(feed.feed_id))
    ]
    if waiting:
        lines += ["", "readers wait"]
        lines += [f"  {shown(name)}: {report.why}" for name, report in waiting[:MAX_LISTED]]
        lines += _and_more(len(waiting))
    return lines


def _and_more(count: int) -> list[str]:
    return [f"  and {count - MAX_LISTED} more"] if count > MAX_LISTED else []


def _peer_line(peer: PeerFacts) -> str:
    notes = []
    if peer.is_users:
        notes.append("given by you")
    if peer.feed_count:
        notes.append(f"found for {peer.feed_count} feed{'s' * (peer.feed_count > 1)}")
    if peer.retry_seconds is not None:
        notes.append(f"dialled again in {peer.retry_seconds:.1f} s")
    if peer.why:
        notes.append(peer.why)
    return f"  {peer.address}  {peer.state}" + (f"  ({'; '.join(notes)})" if notes else "")


def status_json(feeds: FeedsView) -> str:
    """The status for programs: one object, described in docs/manual.md."""
    facts, check, scrub = feeds.node_facts(), feeds.check_facts(), feeds.scrub_facts()
    return (
        json.dumps(
            {
                "node": None if facts is None else _node_object(facts),
                "store_trouble": feeds.surroundings.store_trouble() or None,
                "may_fetch": feeds.surroundings.may_fetch(),
                "check": None if check is None else _check_object(check),
                "scrub": None if scrub is None else _scrub_object(scrub),
                "feeds": [_feed_object(shown(name), feed) for name, feed in feeds.names()],
                "peers": [] if facts is None else [_peer_object(peer) for peer in facts.peers],
            },
            indent=1,
        )
        + "\n"
    )


def _check_object(check: CheckFacts) -> dict[str, object]:
    return {
        "feeds_left": check.feeds_left,
        "bytes_left": check.bytes_left,
        "bytes_done": check.bytes_done,
        "bytes_per_second": round(check.bytes_per_second),
    }


def _scrub_object(scrub: ScrubFacts) -> dict[str, object]:
    return asdict(scrub) | {"bytes_per_second": round(scrub.bytes_per_second)}


def _node_object(facts: NodeFacts) -> dict[str, object]:
    dht = facts.dht
    return {
        "addresses": list(facts.addresses),
        "reachability": facts.reachability,
        "dht": None
        if dht is None
        else {"nodes": dict(dht.nodes), "refreshed_share": dht.refreshed_share},
        "lan": None if facts.lan is None else dict(facts.lan),
    }


def _peer_object(peer: PeerFacts) -> dict[str, object]:
    return {
        "address": peer.address,
        "state": peer.state,
        "is_users": peer.is_users,
        "retry_seconds": peer.retry_seconds,
        "why": peer.why,
        "feeds": peer.feed_count,
    }


def _feed_object(name: str, feed: FeedView) -> dict[str, object]:
    state = _state(feed)
    found: dict[str, object] = {"name": name, "id": ids.format_hex(feed.feed_id), "state": state}
    if state != _UNREADABLE:
        found |= {
            "owned": feed.is_owned,
            "fork": feed.fork,
            "length": None if feed.is_unknown else feed.length,
            "bytes": None if feed.is_unknown else feed.byte_length,
            "local": feed.held_bytes,
            "peers": feed.peer_count,
            "frozen_why": feed.frozen_why or None,
        }
    return found


def _state(feed: FeedView) -> str:
    """The state, or that there is none: one feed that is lost must not hide the others."""
    try:
        return str(feed.state)
    except StoreError:
        return _UNREADABLE


def shown(name: bytes) -> str:
    """A name as text; bytes that are no UTF-8 come out as they were."""
    return name.decode("utf-8", "surrogateescape")


def head(feed: FeedView, report: FeedReport) -> str:
    """The newest head that is known, one `key value` a line; nothing before there is one."""
    if report.head is None:
        return ""
    found = report.head
    return (
        f"fork {found.fork}\nlength {found.length}\nbytes {found.byte_length}\n"
        f"hash {found.tree_hash.hex()}\nsignature {found.signature.hex()}\n"
    )


def progress(feed: FeedView, report: FeedReport) -> str:
    """What is here of what is known, one `key value` a line."""
    blocks, size = ("unknown",) * 2 if feed.is_unknown else (feed.length, feed.byte_length)
    return (
        f"state {feed.state}\n"
        f"blocks {report.held_blocks} of {blocks}\n"
        f"bytes {feed.held_bytes} of {size}\n"
        f"contiguous {report.contiguous_blocks}\n"
        f"waiting {report.waiting}\n"
    )


def feed_peers(facts: FeedFacts) -> str:
    """Who has the feed open, and who else might have it."""
    lines: Sequence[str] = [
        *(
            f"{link.name}  connected, has "
            + ("told nothing yet" if link.length is None else f"a head of length {link.length}")
            + (f"; {link.trouble}" if link.trouble else "")
            for link in facts.links
        ),
        *(_peer_line(peer).strip() for peer in facts.others if peer.state != "connected"),
    ]
    return "".join(f"{line}\n" for line in lines)
