"""What a ladder's page and figures show."""

import pytest

from mm_jax.config.base import InputError
from mm_jax.reports.ladder_summary import kind_of, summarize_ladder
from tests.reports.ladders import ENTRIES, record_of_entries, summary_of


def test_entries_are_read_in_the_order_of_the_ladder(tmp_path):
    record_of_entries(ENTRIES[::-1]).save(tmp_path)
    summary = summarize_ladder(tmp_path)
    assert [entry.name for entry in summary.entries] == [entry.name for entry in ENTRIES]
    assert summary.best.name == "mixture"
    assert [entry.name for entry in summary.finite] == ["uniform", "bigram", "gru", "mixture"]


def test_the_split_is_train_where_nothing_is_held_out(tmp_path):
    summary = summary_of(tmp_path)
    assert summary.split == "dev"
    data = summary.record.data | {"split_lines": [10, 0, 0]}
    summary.record.data = data
    assert summary.split == "train"


def test_without_a_result_it_says_how_to_go_on(tmp_path):
    record_of_entries(ENTRIES[3:4]).save(tmp_path)
    with pytest.raises(InputError, match="has no results yet; resume it: mm-jax ladder"):
        summarize_ladder(tmp_path)


def test_a_model_is_counted_a_net_or_several():
    kinds = [kind_of(entry) for entry in ENTRIES]
    assert kinds == ["counted", "counted", "net", "net", "several models"]
