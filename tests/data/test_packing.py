"""Which row each item is in, against a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data import packing
from mm_jax.data.packing import pack
from tests.helpers import ROOT


def slow_pack(sizes, row_length):
    """Where each row begins, item by item, and the end."""
    starts, place = [0], 0
    for size in sizes:
        if place + size - starts[-1] > row_length:
            starts.append(place)
        place += size
    return [*starts, place]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(9, 40))
@pytest.mark.parametrize("block", [2**20, 7])
def test_a_row_has_as_many_items_as_it_holds(block, sizes, row_length):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK_ITEMS", block)
        found = pack(np.append(0, np.cumsum(sizes)), row_length)
    assert found.tolist() == slow_pack(sizes, row_length)


def test_names_fill_nine_tenths_of_rows_of_32():
    lengths = [len(line) for line in (ROOT / "data" / "names.txt").read_text().splitlines()]
    offsets = np.append(0, np.cumsum(np.array(lengths) + 1))
    padded = offsets[-1] / ((max(lengths) + 1) * len(lengths))
    packed = offsets[-1] / (32 * (len(pack(offsets, 32)) - 1))
    assert padded < 0.5
    assert packed > 0.88
