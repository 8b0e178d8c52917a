"""Puts, right and wrong, and what becomes of each with libtorrent, bittorrent-dht, and ours.

A row is a put after one of seq 5 with the value "stored", under a key of its own. Where ours
differs from either of the others, the row says why.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from protozorfs import bencoding

KINDS = ("libtorrent", "bittorrent-dht", "ours")
STORED_SEQ = 5
STORED = b"6:stored"  # bencoded, as are all values here
NEWER = b"5:newer"
LARGEST_EXACT = 2**53 - 1  # the last integer up to which JavaScript has every one


class Served(Enum):
    """What a get brings afterwards."""

    NOTHING = "nothing"
    STORED = "the first item"
    PUT = "the item that was put, byte by byte"
    REPAIRED = "that, with S of its signature reduced"
    UNSIGNED = "its value alone"
    SEQ = "its seq alone"
    SPOILED = "its signature with other bytes for the value"


class Outcome(NamedTuple):
    """What is said (0: taken, the code of an error, None: nothing), and what is served then."""

    said: int | None
    served: Served


TAKES = Outcome(0, Served.PUT)
IGNORES = Outcome(None, Served.STORED)  # the datagram is dropped
IGNORES_NEW = Outcome(None, Served.NOTHING)
STORES_UNSIGNED = Outcome(0, Served.UNSIGNED)
SPOILS = Outcome(0, Served.SPOILED)


def refuses(code: int) -> Outcome:
    """An error; the first item stays."""
    return Outcome(code, Served.STORED)


def refuses_new(code: int) -> Outcome:
    """An error, where there was no first item."""
    return Outcome(code, Served.NOTHING)


class Put(NamedTuple):
    """A put; what is not said is as it should be.

    Attributes:
        value: bencoded, canonical or not.
        cas: None: none is sent.
        changes: arguments by name that are replaced; None: left out.
        adds_order: the order of the base point is added to S of the signature.
    """

    seq: int = STORED_SEQ + 1
    value: bytes = NEWER
    cas: int | None = None
    salt: bytes = b""
    changes: dict[bytes, bencoding.Encodable | None] | None = None
    adds_order: bool = False


class Row(NamedTuple):
    """A put and its outcomes."""

    put: Put
    libtorrent: Outcome
    bittorrent: Outcome
    ours: Outcome
    why: str = ""

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """By kind of node."""
        return dict(zip(KINDS, (self.libtorrent, self.bittorrent, self.ours), strict=True))


def changed(**arguments: bencoding.Encodable | None) -> Put:
    """A put with other arguments than it should have."""
    return Put(changes={key.encode(): value for key, value in arguments.items()})


def text(size: int) -> bytes:
    """A byte string of that size, bencoded."""
    return b"%d:%b" % (size, bytes(size))


def integer(number: int) -> bytes:
    """An integer, bencoded."""
    return b"i%de" % number


def nested(depth: int) -> bytes:
    """So many lists, one within the other."""
    return b"l" * depth + b"e" * depth


# Reasons that several rows share.
ERROR = "BEP 44 has an error for it; bittorrent-dht throws, and says nothing"
SAME_ITEM = "BEP 44: the timer is reset; bittorrent-dht wants a higher seq"
BYTES = "ours keeps v as bytes, whatever they mean; JavaScript has no such number, or key"
LONGER = "libtorrent makes 0 of what has no 64 bits; ours serves what was signed"
STRICT = "ours answers nothing to what is not canonical: its source may be forged"
DEPTH = "ours reads 8 levels, v's begin at the third: heads are byte strings"
SIZE = "BEP 44: 1000 bytes bencoded; bittorrent-dht counts those of a string alone"
ANY_TARGET = "the tokens of bittorrent-dht are good for any target"
UNSIGNED = "libtorrent keeps v without a signature, in place of the real item; ours must not"

ROWS = {
    # --- seq and cas ---
    "newer": Row(Put(), TAKES, TAKES, TAKES),
    "same seq, same v": Row(
        *(Put(seq=STORED_SEQ, value=STORED), TAKES, Outcome(302, Served.PUT), TAKES), SAME_ITEM
    ),
    "same seq, other v": Row(
        *(Put(seq=STORED_SEQ), Outcome(0, Served.STORED), refuses(302), refuses(302)),
        "libtorrent says yes, and keeps the old v all the same; BEP 44: 302",
    ),
    "lower seq": Row(Put(seq=STORED_SEQ - 1), refuses(302), refuses(302), refuses(302)),
    "right cas": Row(Put(cas=STORED_SEQ), TAKES, TAKES, TAKES),
    "wrong cas": Row(Put(cas=STORED_SEQ - 1), refuses(301), refuses(301), refuses(301)),
    "cas below 0": Row(Put(cas=-1), refuses(301), refuses(301), refuses(301)),
    "cas is a string": Row(changed(cas=b"4"), TAKES, TAKES, TAKES),
    "seq of 2**53 - 1": Row(Put(seq=LARGEST_EXACT), TAKES, TAKES, TAKES),
    "seq of 2**53 + 1": Row(Put(seq=LARGEST_EXACT + 2), TAKES, IGNORES, TAKES, BYTES),
    "seq of 2**63 - 1": Row(Put(seq=2**63 - 1), TAKES, IGNORES, TAKES, BYTES),
    "seq of 2**63": Row(
        *(Put(seq=2**63), refuses(206), IGNORES, refuses(203)),
        "libtorrent reads another number; ours says that it is none",
    ),
    # --- token, signature ---
    "bad token": Row(changed(token=b"nonsense"), refuses(203), refuses(203), refuses(203)),
    "no token": Row(changed(token=None), refuses(203), IGNORES, refuses(203), ERROR),
    "token is a number": Row(changed(token=5), refuses(203), IGNORES, refuses(203), ERROR),
    "bad signature": Row(changed(sig=bytes(64)), refuses(206), IGNORES, refuses(206), ERROR),
    "another's key": Row(
        *(changed(k=b"\1" * 32), refuses(203), IGNORES, refuses(203), ANY_TARGET),
    ),
    "S + L": Row(
        *(Put(adds_order=True), TAKES, IGNORES, Outcome(0, Served.REPAIRED)),
        "the item is genuine; with S reduced others can check it, and libtorrent's S + L cannot",
    ),
    # --- arguments that are missing, or of another kind ---
    "no sig": Row(changed(sig=None), STORES_UNSIGNED, IGNORES, refuses(203), UNSIGNED),
    "sig of 63 bytes": Row(
        changed(sig=bytes(63)), STORES_UNSIGNED, IGNORES, refuses(203), UNSIGNED
    ),
    "sig of 65 bytes": Row(
        changed(sig=bytes(65)), STORES_UNSIGNED, IGNORES, refuses(203), UNSIGNED
    ),
    "sig is a number": Row(changed(sig=5), STORES_UNSIGNED, IGNORES, refuses(203), UNSIGNED),
    "no seq": Row(changed(seq=None), STORES_UNSIGNED, IGNORES, refuses(203), UNSIGNED),
    "seq is a string": Row(changed(seq=b"6"), STORES_UNSIGNED, IGNORES, refuses(203), UNSIGNED),
    "no k": Row(changed(k=None), refuses(203), IGNORES, refuses(203), ERROR),
    "k of 31 bytes": Row(changed(k=bytes(31)), refuses(203), IGNORES, refuses(203), ERROR),
    "k is a list": Row(changed(k=[]), refuses(203), IGNORES, refuses(203), ERROR),
    "no v": Row(changed(v=None), refuses(203), IGNORES, refuses(203), ERROR),
    # An immutable item, whose target is another than the token's.
    "neither k nor sig nor seq": Row(
        *(changed(k=None, sig=None, seq=None), refuses(203), Outcome(0, Served.STORED)),
        *(refuses(203), ANY_TARGET),
    ),
    # --- salt ---
    "salt is empty": Row(
        *(changed(salt=b""), TAKES, IGNORES, TAKES),
        "BEP 44: as no salt; bittorrent-dht expects the signature to cover it",
    ),
    "salt is a number": Row(
        *(changed(salt=5), TAKES, IGNORES, refuses(203)),
        "libtorrent overlooks it; ours says that it is wrong",
    ),
    # --- size ---
    "v of 996 bytes": Row(Put(value=text(996)), TAKES, TAKES, TAKES),
    "v of 997 bytes": Row(Put(value=text(997)), refuses(205), TAKES, refuses(205), SIZE),
    "v of 1000 bytes": Row(Put(value=text(1000)), refuses(205), TAKES, refuses(205), SIZE),
    "v of 1001 bytes": Row(Put(value=text(1001)), refuses(205), refuses(205), refuses(205)),
    "list of 1000 bytes": Row(Put(value=b"l%be" % text(994)), TAKES, TAKES, TAKES),
    "list of 1001 bytes": Row(
        Put(value=b"l%be" % text(995)), refuses(205), TAKES, refuses(205), SIZE
    ),
    "498 values": Row(
        *(Put(value=b"l%be" % (b"le" * 497)), IGNORES, TAKES, IGNORES),
        "ours reads 500 values of a datagram, as libtorrent does",
    ),
    # --- what v is ---
    "empty string": Row(Put(value=b"0:"), TAKES, TAKES, TAKES),
    "string that is no text": Row(Put(value=b"2:\xff\xfe"), TAKES, TAKES, TAKES),
    "empty list": Row(Put(value=b"le"), TAKES, TAKES, TAKES),
    "list": Row(Put(value=b"li1e1:xe"), TAKES, TAKES, TAKES),
    "empty dict": Row(Put(value=b"de"), TAKES, TAKES, TAKES),
    "dict": Row(Put(value=b"d1:ali1e1:xee"), TAKES, TAKES, TAKES),
    "dict with an empty key": Row(Put(value=b"d0:i1ee"), TAKES, TAKES, TAKES),
    "dict with a key that is no text": Row(Put(value=b"d1:\xffi1ee"), TAKES, IGNORES, TAKES, BYTES),
    "1": Row(Put(value=integer(1)), TAKES, TAKES, TAKES),
    "-1": Row(Put(value=integer(-1)), TAKES, TAKES, TAKES),
    "0": Row(
        *(Put(value=integer(0)), TAKES, IGNORES, TAKES),
        "any value is one; bittorrent-dht takes 0 for none",
    ),
    "2**53 - 1": Row(Put(value=integer(LARGEST_EXACT)), TAKES, TAKES, TAKES),
    "2**53 + 1": Row(Put(value=integer(LARGEST_EXACT + 2)), TAKES, IGNORES, TAKES, BYTES),
    "-2**53 - 1": Row(Put(value=integer(-LARGEST_EXACT - 2)), TAKES, IGNORES, TAKES, BYTES),
    "2**63 - 1": Row(Put(value=integer(2**63 - 1)), TAKES, IGNORES, TAKES, BYTES),
    "2**63": Row(Put(value=integer(2**63)), SPOILS, IGNORES, TAKES, LONGER),
    "20 digits": Row(Put(value=integer(10**20 - 1)), SPOILS, IGNORES, TAKES, LONGER),
    "10**20": Row(
        *(Put(value=integer(10**20)), IGNORES, SPOILS, IGNORES),
        "ours reads 20 digits, as libtorrent does",
    ),
    "21 digits": Row(Put(value=integer(10**21 - 1)), IGNORES, IGNORES, IGNORES),
    # --- how v is written ---
    "unsorted keys": Row(Put(value=b"d1:bi1e1:ai2ee"), refuses(203), IGNORES, IGNORES, STRICT),
    "the same key twice": Row(Put(value=b"d1:ai1e1:ai2ee"), refuses(203), IGNORES, IGNORES, STRICT),
    "leading zero": Row(Put(value=b"i01e"), refuses(203), IGNORES, IGNORES, STRICT),
    "leading zero of a size": Row(Put(value=b"01:x"), refuses(203), IGNORES, IGNORES, STRICT),
    "-0": Row(Put(value=b"i-0e"), SPOILS, IGNORES, IGNORES, STRICT),
    "+1": Row(Put(value=b"i+1e"), IGNORES, IGNORES, IGNORES),
    # --- depth ---
    "6 lists deep": Row(Put(value=nested(6)), TAKES, TAKES, TAKES),
    "7 lists deep": Row(Put(value=nested(7)), TAKES, TAKES, IGNORES, DEPTH),
    "8 lists deep": Row(Put(value=nested(8)), IGNORES, TAKES, IGNORES, DEPTH),
    "50 lists deep": Row(Put(value=nested(50)), IGNORES, TAKES, IGNORES, DEPTH),
}
# Puts of what is not kept yet: an item of its own salt.
ROWS |= {
    "seq of 0": Row(Put(seq=0, salt=b"other"), TAKES, TAKES, TAKES),
    "negative seq": Row(
        *(Put(seq=-1, salt=b"other"), refuses_new(203), TAKES, refuses_new(203)),
        "BEP 44: from 0 on; bittorrent-dht compares it like any other",
    ),
    "salt of 64 bytes": Row(Put(salt=bytes(64)), TAKES, TAKES, TAKES),
    "salt of 65 bytes": Row(
        *(Put(salt=bytes(65)), refuses_new(207), TAKES, refuses_new(207)),
        "BEP 44: 64 bytes; bittorrent-dht has no limit",
    ),
}
# Immutable items, of which nothing is kept: only v and the token are sent.
IMMUTABLE_ROWS = {
    "text": Row(Put(), STORES_UNSIGNED, STORES_UNSIGNED, STORES_UNSIGNED),
    "dict": Row(Put(value=b"d1:ai1ee"), STORES_UNSIGNED, STORES_UNSIGNED, STORES_UNSIGNED),
    "0": Row(
        Put(value=b"i0e"), STORES_UNSIGNED, IGNORES_NEW, STORES_UNSIGNED, "as of mutable items"
    ),
    "996 bytes": Row(Put(value=text(996)), STORES_UNSIGNED, STORES_UNSIGNED, STORES_UNSIGNED),
    "997 bytes": Row(
        Put(value=text(997)), refuses_new(205), STORES_UNSIGNED, refuses_new(205), SIZE
    ),
    "1001 bytes": Row(Put(value=text(1001)), refuses_new(205), refuses_new(205), refuses_new(205)),
    "unsorted keys": Row(
        *(Put(value=b"d1:bi1e1:ai2ee"), refuses_new(203), Outcome(0, Served.NOTHING)),
        *(IGNORES_NEW, "ours drops it; bittorrent-dht sorts them, which makes another target"),
    ),
    "bad token": Row(
        Put(value=b"3:bad", changes={b"token": b"nonsense"}),
        *(refuses_new(203), refuses_new(203), refuses_new(203)),
    ),
    "no token": Row(
        Put(value=b"2:no", changes={b"token": None}),
        *(refuses_new(203), IGNORES_NEW, refuses_new(203), ERROR),
    ),
}


class GetRow(NamedTuple):
    """A get with `seq`, after the first item and then a put, and what it brings."""

    put: Put
    seq: int
    libtorrent: Served
    bittorrent: Served
    ours: Served
    why: str = ""

    @property
    def outcomes(self) -> dict[str, Served]:
        """By kind of node."""
        return dict(zip(KINDS, (self.libtorrent, self.bittorrent, self.ours), strict=True))


AGAIN = Put(STORED_SEQ, STORED)
NO_SEQ_IN_GET = "BEP 44: only what is newer; bittorrent-dht does not know `seq` in a get"
GET_ROWS = {
    "of an older seq": GetRow(AGAIN, STORED_SEQ - 1, Served.PUT, Served.PUT, Served.PUT),
    "of the same seq": GetRow(AGAIN, STORED_SEQ, Served.SEQ, Served.PUT, Served.SEQ, NO_SEQ_IN_GET),
    "of a later seq": GetRow(
        AGAIN, STORED_SEQ + 1, Served.SEQ, Served.PUT, Served.SEQ, NO_SEQ_IN_GET
    ),
    "of seq 0": GetRow(AGAIN, 0, Served.PUT, Served.PUT, Served.PUT),
    # Which is why ours puts no item of seq 0, and asks with `seq` always.
    "of seq 0, of an item of seq 0": GetRow(
        Put(seq=0, salt=b"other"), 0, Served.SEQ, Served.PUT, Served.SEQ, NO_SEQ_IN_GET
    ),
    "of seq 0, after a put without sig": GetRow(
        changed(sig=None), 0, Served.STORED, Served.STORED, Served.STORED
    ),
}
