"""Counting a file without a console: what is refused, counted, chosen and impossible."""

import math

import jax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import InterpolatedConfig, KneserNeyConfig, NgramConfig
from mm_jax.data import ngram_counts
from mm_jax.data.dataset import load_dataset
from mm_jax.data.file_summary import summarize_splits
from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import build_vocab
from mm_jax.experiments import counting
from mm_jax.models.baselines import MAX_ORDER, ORDERS, add_k
from mm_jax.models.interpolated import fit_interpolated, interpolated
from mm_jax.training.evaluate import evaluate
from tests.helpers import assert_trees_identical

LINES = ["emma", "ava", "mia", "amelia", "eva", "ema", "mae", "lea", "ela", "mila"] * 4


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LINES))
    return path


def count(path, order, smoothing, split="lecture", items="line"):
    """All steps of mm-jax count that need no console."""
    stream = Stream(DataConfig(str(path), split=split, items=items))
    summary = summarize_splits(stream)
    highest = counting.order_to_count(order, smoothing, len(summary.vocab))
    counts = counting.count_splits(stream, summary, highest)
    return summary, counting.choose_model(stream, summary, counts, order, smoothing)


def test_auto_needs_lines_that_are_held_out():
    for order, smoothing in (("auto", 1.0), (2, "auto")):
        with pytest.raises(InputError, match="--split none holds no lines out"):
            counting.check_request(order, smoothing, "none")
        counting.check_request(order, smoothing, "lecture")
    counting.check_request(2, "kneser-ney", "none")
    with pytest.raises(InputError, match="0 or at least 1e-30"):
        counting.check_request(2, 1e-38, "none")


@pytest.mark.parametrize(
    ("order", "smoothing", "vocab_size", "expected"),
    [
        ("auto", 1.0, 27, MAX_ORDER),
        ("auto", "kneser-ney", 5000, MAX_ORDER),
        ("auto", "kneser-ney", 10**6, 4),  # two times two digits, which 53 bits hold
        (8, "kneser-ney", 5000, 8),
        (2, 1.0, 27, MAX_ORDER),
        (3, "kneser-ney", 27, MAX_ORDER),
        (9, 1.0, 3, 9),
    ],
)
def test_the_order_to_count_is_that_of_the_baselines_or_the_one_asked_for(
    order, smoothing, vocab_size, expected
):
    assert counting.order_to_count(order, smoothing, vocab_size) == expected


@pytest.mark.parametrize(
    ("order", "smoothing", "vocab_size", "error"),
    [
        (1, "kneser-ney", 27, "takes --order 2 or more, not 1"),
        (9, "kneser-ney", 5000, "5,000 symbols can have orders 2 to 8, not 9"),
        (12, 1.0, 27, "a table of order 12"),
    ],
)
def test_an_impossible_order_is_refused(order, smoothing, vocab_size, error):
    with pytest.raises(InputError, match=error):
        counting.order_to_count(order, smoothing, vocab_size)


def test_without_parameters_a_table_need_not_fit():
    assert counting.order_to_count(2, 1.0, 50_000, needs_params=False) == 6
    with pytest.raises(InputError, match=r"50000\^2 = 2.50e\+9 counts, 10 GB"):
        counting.order_to_count(2, 1.0, 50_000)
    with pytest.raises(InputError, match="50,000 symbols can have orders 1 to 6, not 7"):
        counting.order_to_count(7, 1.0, 50_000, needs_params=False)


def test_the_chosen_model_has_the_order_and_smoothing_asked_for(path):
    _, result = count(path, 3, 0.5)
    assert (result.chosen.kind, result.chosen.order, result.chosen.smoothing) == ("add-k", 3, 0.5)
    assert result.counts.train.order == result.counts.dev.order == 3
    assert counting.model_config(result.chosen) == NgramConfig(3, 0.5)
    counts = counting.model_params(result.chosen, result.counts)["counts"]
    assert counts.sum() == result.counts.train.total
    _, result = count(path, 4, "kneser-ney")
    assert counting.model_config(result.chosen) == KneserNeyConfig(4)
    assert result.chosen in result.baselines


def params_of(result):
    return jax.device_get(counting.model_params(result.chosen, result.counts))


@pytest.mark.parametrize("choices", [{}, {"split": "unique"}, {"split": "none"}], ids=repr)
@pytest.mark.parametrize("items", ["line", "document"])
def test_interpolated_counts_of_a_file_are_those_of_its_training_items(path, items, choices):
    if items == "document" and choices == {"split": "unique"}:
        pytest.skip("a document is one item")
    path.write_text("\n".join(a + b for a in LINES[:10] for b in ("", *"xyz", LINES[0])))
    _, result = count(path, 3, "interpolated", items=items, **choices)
    assert counting.model_config(result.chosen) == InterpolatedConfig(3)
    train = load_dataset(DataConfig(str(path), items=items, **choices)).splits.train
    expected = fit_interpolated(train, order=3)
    assert_trees_identical(params_of(result), jax.device_get(expected))
    loss = float(evaluate(interpolated(len(train.vocab), 3), expected, train))
    assert result.chosen.train_loss == pytest.approx(loss, rel=1e-5 if items == "line" else 1e-2)


def test_the_order_of_interpolated_counts_is_the_best_on_dev(path):
    _, result = count(path, "auto", "interpolated")
    others = [count(path, n, "interpolated")[1].chosen for n in ORDERS]
    assert [each.order for each in others] == [*ORDERS]
    assert result.chosen == min(others, key=lambda each: each.dev_loss)
    found = counting.interpolated_baselines(result.counts)
    assert [*found] == others[: result.chosen.order - 1]


def test_too_few_items_to_fit_the_weights_on_are_refused(path):
    path.write_text("\n".join("abcdefghijk"))
    with pytest.raises(InputError, match="8 lines are too few to hold a tenth of them out"):
        count(path, 3, "interpolated")


def test_auto_is_the_lowest_loss_on_dev(path):
    _, result = count(path, "auto", "auto")
    assert result.chosen.dev_loss == min(each.dev_loss for each in result.baselines)
    _, result = count(path, "auto", "kneser-ney")
    losses = [each.dev_loss for each in result.baselines if each.kind == "kneser-ney"]
    assert result.chosen.dev_loss == min(losses)
    _, result = count(path, "auto", 2.0)
    assert result.chosen.smoothing == 2.0
    others = [count(path, n, 2.0)[1].chosen.dev_loss for n in range(1, MAX_ORDER + 1)]
    assert result.chosen.dev_loss == min(others)


def test_without_a_split_nothing_is_held_out(path):
    summary, result = count(path, 2, 1.0, "none")
    assert result.counts.dev is None
    assert result.counts.train.total == sum(map(len, LINES)) + len(LINES)
    assert result.chosen.dev_loss is None
    assert counting.impossible_in_dev(result, summary.vocab) == []


def test_an_order_with_too_many_ngrams_is_counted_again_in_a_table(path, monkeypatch):
    _, expected = count(path, 4, 0.5)
    monkeypatch.setattr(ngram_counts, "MAX_TABLE_CELLS", 0)
    monkeypatch.setattr(ngram_counts, "MAX_NGRAMS", 20)
    summary, result = count(path, 4, 0.5)
    assert max(each.order for each in result.baselines) < 4
    assert result.chosen == expected.chosen
    assert result.counts.train.counts.tolist() == expected.counts.train.counts.tolist()
    # Without the memory for a table: with what there is.
    monkeypatch.setattr(counting, "memory_bytes", lambda: 3 * 2 * 8 * len(summary.vocab) ** 4 - 1)
    for smoothing in 0.5, "kneser-ney", "interpolated":
        assert count(path, 4, smoothing)[1].chosen.order == 4
    monkeypatch.setattr(counting, "memory_bytes", lambda: 100 * 30)
    with pytest.raises(InputError, match=r"more different n-grams of order 4 than.*order \d can"):
        count(path, 4, 0.5)


def test_a_giant_line_is_counted_in_chunks(path, monkeypatch):
    path.write_text("".join(LINES))
    _, whole = count(path, 3, 0.0, "none")
    assert whole.counts.train.total == sum(map(len, LINES)) + 1
    monkeypatch.setattr(ngram_counts, "CHUNK_SYMBOLS", 7)
    _, chunked = count(path, 3, 0.0, "none")
    assert chunked.baselines == whole.baselines
    for name in ("keys", "counts"):
        one, other = getattr(whole.counts.train, name), getattr(chunked.counts.train, name)
        assert one.tolist() == other.tolist()


def test_lines_shorter_than_the_orders_are_counted(path):
    path.write_text("\n".join("abcdefghij"))
    _, result = count(path, 6, "kneser-ney", "none")
    assert result.chosen.order == 6
    assert result.counts.train.total == 20
    assert math.isfinite(result.chosen.train_loss)


def test_impossible_ngrams_of_dev_are_named_most_frequent_first():
    """What train never has after a known context; after q, unknown to train, all is possible."""
    train, dev = ["ab"], ["aq", "aq", "bq", "qa"]
    vocab = build_vocab([*train, *dev])
    counts = counting.SplitCounts(count_lines(train, vocab, 2), count_lines(dev, vocab, 2))
    chosen = add_k(*counts[:2], 0.0)
    assert math.isinf(chosen.dev_loss)
    result = counting.CountResult(counts, [chosen], chosen)
    expected = [("aq", 2), (".b", 1), (".q", 1), ("a.", 1), ("bq", 1)]
    assert counting.impossible_in_dev(result, vocab) == expected
    smoothed = result._replace(chosen=add_k(*counts[:2], 1.0))
    assert counting.impossible_in_dev(smoothed, vocab) == []
