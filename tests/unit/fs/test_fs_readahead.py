"""Which READs for the page cache are declined, and that none that a reader needs is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protozorfs.fs.origins import Origin, Origins
from protozorfs.fs.readahead import PAGE_BYTES, Readahead
from protozorfs.fs.requests import ReadRequest

PAGES = st.integers(0, 40)


def test_readahead_fails_once_and_then_the_reader_waits() -> None:
    readahead = Readahead()
    assert readahead.declines(0, 32 * PAGE_BYTES)
    for page in range(32):  # as the kernel reads what it still needs
        assert not readahead.declines(page * PAGE_BYTES, PAGE_BYTES)
    assert readahead.declines(32 * PAGE_BYTES, 32 * PAGE_BYTES)
    assert not readahead.declines(40 * PAGE_BYTES, 2 * PAGE_BYTES)
    readahead.forget()
    assert readahead.declines(40 * PAGE_BYTES, 2 * PAGE_BYTES)


@given(start=PAGES, pages=st.integers(2, 40), folio=st.sampled_from([1, 2, 4, 8]))
def test_folios_of_what_was_declined_are_not(start: int, pages: int, folio: int) -> None:
    readahead = Readahead()
    offset, end = start * PAGE_BYTES, (start + pages) * PAGE_BYTES
    assert readahead.declines(offset, end - offset)
    while offset < end:
        size = min(folio * PAGE_BYTES, end - offset)
        assert not readahead.declines(offset, size)
        offset += size
    assert readahead.declines(start * PAGE_BYTES, pages * PAGE_BYTES), "the next time, again"


@given(st.lists(st.tuples(PAGES, st.integers(1, 40)), max_size=200))
def test_a_single_page_never_is(reads: list[tuple[int, int]]) -> None:
    readahead = Readahead()
    for page, count in reads:
        declined = readahead.declines(page * PAGE_BYTES, count * PAGE_BYTES)
        assert not (declined and count == 1)


async def test_outside_of_a_mount_nothing_is_learned() -> None:
    origins = Origins()
    request = ReadRequest(inode=1, offset=0, size=PAGE_BYTES)
    await origins.learn(request)
    assert await origins.of(request) is Origin.UNKNOWN
