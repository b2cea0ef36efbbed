"""ladder.json is read back as it was written, or refused."""

import json
import math

import pytest

from mm_jax.config.base import InputError
from mm_jax.experiments.ladder_record import Entry, LadderRecord, RunResult, read_ladder

pytestmark = pytest.mark.usefixtures("small_presets")


def test_what_was_found_is_read_back_as_it_was(whole):
    again = read_ladder(whole.path)
    assert again == whole.record


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, "a newer mm-jax wrote it"),
        ({"entries": [{"name": "grue"}]}, "unknown entry 'grue'"),
        ({"entries": 5}, "is damaged"),
        ({"runs": {"gru/seed-0": {"steps": 1}}}, "is damaged"),
        ({"config": {"models": "gru"}}, "is damaged"),
        ({"weights": {"gru": "heavy"}}, "a weight is not a number"),
    ],
)
def test_a_damaged_record_is_refused_with_its_name(whole, tmp_path, change, words):
    record = json.loads((whole.path / "ladder.json").read_text()) | change
    (tmp_path / "ladder.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=words) as error:
        read_ladder(tmp_path)
    assert str(tmp_path / "ladder.json") in str(error.value)


def test_a_net_that_diverges_counts_as_infinitely_bad(whole):
    record = LadderRecord(whole.record.config, (), {})
    record.runs["gru/seed-0"] = RunResult(1, 2, math.inf, math.inf, None, None)
    entry = Entry("gru", train_losses=(math.inf, 2.0), dev_losses=(math.inf, 2.0))
    assert entry.spread.mean == math.inf
    assert record.results == []


def test_words_of_an_older_ladder_were_counted_in_all_of_the_file(whole, tmp_path):
    record = json.loads((whole.path / "ladder.json").read_text())
    record["config"]["data"] |= {"unit": "word", "min_count": 3}
    for name in ("count_words_in", "merge_numbers", "sentence_ends"):
        del record["config"]["data"][name]
    (tmp_path / "ladder.json").write_text(json.dumps(record))
    data = read_ladder(tmp_path).config.data
    assert (data.count_words_in, data.merge_numbers, data.sentence_ends) == ("all", False, False)
