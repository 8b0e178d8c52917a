"""What a node can be told, and what cannot work."""

from __future__ import annotations

import pytest

from protozorfs.errors import UsageError
from protozorfs.options import MIN_CACHE_BYTES, Options


def test_a_limit_below_what_one_read_may_need_is_refused() -> None:
    assert Options(cache_size=MIN_CACHE_BYTES).cache_size == 32 * 1024 * 1024
    assert Options().cache_size is None
    with pytest.raises(UsageError, match="cache_size=33554431: at least 32M") as refused:
        Options(cache_size=MIN_CACHE_BYTES - 1)
    assert refused.value.exit_code == 1
