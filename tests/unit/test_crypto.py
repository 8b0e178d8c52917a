"""protozorfs.crypto: what is shown of keys."""

from __future__ import annotations

from protozorfs import crypto


def test_a_key_pair_is_shown_without_its_secret() -> None:
    pair = crypto.key_pair(crypto.random_bytes(32))
    for text in (repr(pair), str(pair), f"{pair}"):
        assert text == f"KeyPair({pair.public_key.hex()})"
