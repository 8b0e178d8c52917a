"""Write tokens: for one host, one target, and not for ever."""

from __future__ import annotations

import random

from protozorfs.dht.tokens import TOKEN_BYTES, Tokens

IP, OTHER_IP = b"\x08\x08\x04\x04", b"\x08\x08\x04\x05"
TARGET, OTHER_TARGET = bytes(20), bytes([1]) * 20


def test_a_token_is_good_for_its_host_and_target_alone() -> None:
    tokens = Tokens(random.Random(1), 0.0)
    token = tokens.make(IP, TARGET, 0.0)
    assert len(token) == TOKEN_BYTES
    assert tokens.is_valid(token, IP, TARGET, 1.0)
    assert not tokens.is_valid(token, OTHER_IP, TARGET, 1.0)
    assert not tokens.is_valid(token, IP, OTHER_TARGET, 1.0)
    assert not tokens.is_valid(token[:-1], IP, TARGET, 1.0)
    assert not tokens.is_valid(b"", IP, TARGET, 1.0)


def test_a_token_lives_five_to_ten_minutes() -> None:
    for issued in (0.0, 299.0):  # the secret changes with the first use after 300 s, then 600 s
        tokens = Tokens(random.Random(1), 0.0)
        token = tokens.make(IP, TARGET, issued)
        tokens.make(IP, TARGET, 301.0)
        assert tokens.is_valid(token, IP, TARGET, 600.0)
        assert not tokens.is_valid(token, IP, TARGET, 602.0)


def test_after_a_long_pause_no_old_token_is_good() -> None:
    tokens = Tokens(random.Random(1), 0.0)
    token = tokens.make(IP, TARGET, 0.0)
    assert not tokens.is_valid(token, IP, TARGET, 10_000.0)
