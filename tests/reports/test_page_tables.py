"""The rows of the tables in a report, each from a summary or from numbers known beforehand."""

import math

import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.splits import split_lines
from mm_jax.reports.analysis import AnnotatedLine, array_stats, shown_symbols
from mm_jax.reports.page_tables import (
    array_row,
    baseline_rows,
    choice_rows,
    data_rows,
    neighbour_rows,
    run_rows,
    sample_row,
    setting_row,
    shade_of,
    split_rows,
    versions_text,
)
from mm_jax.reports.sweep_summary import Setting
from tests.reports.conftest import LINES


def test_shades_of_surprise():
    nats = (0.0, 0.7, 3.0, 6.0, 99.0, math.inf)
    assert [shade_of(each) for each in nats] == [0, 1, 4, 8, 8, 8]


def test_what_was_run_and_reached(summary):
    rows = dict(run_rows(summary("ensemble")))
    num_params = sum(leaf.size for leaf in summary("ensemble").run.params.values())
    assert rows["Parameters"] == f"{num_params:,}"
    assert rows["Training"] == "80 steps of 8 examples each"
    assert rows["Seed"] == "2 from 0"
    assert rows["Loss on dev"] == "2.5000 nats per symbol"
    counted = dict(run_rows(summary("counts")))
    assert counted["Model"] == "ngram: order 2, smoothing 0.5"
    assert "Training" not in counted


def test_baselines_and_the_model_stand_in_the_order_of_their_losses(summary):
    rows = baseline_rows(summary("mlp"))
    nats = [float(row["nats"]) for row in rows]
    assert nats == sorted(nats, reverse=True)
    (own,) = (row for row in rows if row["is_model"])
    assert (own["name"], own["nats"]) == ("this model", "2.5000")
    assert own["bits"] == f"{2.5 / math.log(2):.4f}"
    assert own["perplexity"] == f"{math.exp(2.5):.2f}"
    assert rows[0]["name"] == "uniform"


def test_splits_have_their_lines_and_what_they_share_with_train(summary):
    splits = split_lines(LINES)
    rows = {row["name"]: row for row in split_rows(summary("mlp"))}
    assert [rows[name]["lines"] for name in ("train", "dev", "test")] == [
        str(len(lines)) for lines in splits
    ]
    assert rows["train"]["shared"] == ""
    found = summary("mlp")
    dev = encode_corpus([splits.train[0], "novel"], found.run.vocab)
    dataset = found.dataset._replace(splits=found.dataset.splits._replace(dev=dev))
    repeated = found._replace(dataset=dataset)
    dev = {row["name"]: row for row in split_rows(repeated)}["dev"]
    assert (dev["lines"], dev["shared"], dev["share"]) == ("2", "1", "50.0%")
    assert split_rows(summary("mlp")._replace(dataset=None)) == []


def test_neighbours_are_named_with_their_distances(summary):
    found = summary("mlp")
    table, symbols = np.asarray(found.run.params["C"]), found.run.vocab.symbols
    distances = np.linalg.norm(table[1] - table, axis=1)
    order = np.argsort(distances)[1:6]  # without itself
    row = neighbour_rows(found)[1]
    assert row["symbol"] == symbols[1]
    assert row["near"] == [(symbols[i], f"{distances[i]:.2f}") for i in order]
    assert neighbour_rows(summary("bigram")) == []


def test_of_a_large_alphabet_the_neighbours_of_the_most_frequent_symbols_are_named(
    summary, monkeypatch
):
    found = summary("mlp")
    every = {row["symbol"]: row for row in neighbour_rows(found)}
    shown = shown_symbols(len(every), found.frequency, 4)
    monkeypatch.setattr("mm_jax.reports.page_tables.shown_symbols", lambda *_: shown)
    order = np.argsort(-found.frequency, kind="stable")[:4]
    assert neighbour_rows(found) == [every[found.run.vocab.symbols[i]] for i in order]


def test_a_sample_has_the_mean_of_its_surprise_and_where_it_occurs():
    symbols = [("a", 1.0), ("\u202e", 7.0), (".", 1.0)]
    row = sample_row(AnnotatedLine("a\u202e", symbols, [], 100 * "b", 99, False))
    assert (row["text"], row["nats"], row["seen"], row["distance"]) == (
        "aU+202E",
        "3.00",
        "new",
        99,
    )
    assert row["symbols"] == [("a", 1, "1.00"), ("U+202E", 8, "7.00"), (".", 1, "1.00")]
    assert row["nearest"] == 63 * "b" + "…"
    seen = sample_row(AnnotatedLine("a", symbols, ["train", "dev"], "a", 0, False))
    assert (seen["seen"], seen["distance"]) == ("train, dev", 0)
    alone = sample_row(AnnotatedLine("a", symbols, [], None, None, False))
    assert (alone["seen"], alone["nearest"], alone["distance"]) == ("not known", "", "")


def test_arrays_have_their_shape_and_numbers():
    (stats,) = array_stats([("W", np.array([[0.0, 3.0], [1.0, 4.0]], np.float32))])
    row = array_row(stats)
    assert (row["name"], row["shape"], row["size"]) == ("W", "2 x 2", "4")
    assert (row["mean"], row["low"], row["high"]) == ("2", "0", "4")
    (scalar,) = array_stats([("s", np.float32([[1.0]]).reshape(()))])
    assert array_row(scalar)["shape"] == "scalar"


def test_choices_stand_by_their_flags(run_path):
    rows = dict(choice_rows(RunConfig(seed=7)))
    assert rows["--model"] == "mlp"
    assert rows["--seed"] == "7"
    assert rows["--weight-decay"] == "not set"
    assert versions_text(run_path("mlp").parent) == ""  # no run


@pytest.mark.parametrize("shared", [0.0, 0.125])
def test_the_data_and_its_split(shared):
    data = {
        "path": "a b.txt",
        "num_lines": 1234,
        "sha256": "0a30",
        "split_lines": [1000, 117, 117],
        "dev_lines_in_train": shared,
    }
    rows = dict(data_rows(data, RunConfig()))
    assert (rows["File"], rows["Items"], rows["sha256"]) == ("a␣b.txt", "1,234", "0a30")
    assert rows["Tokens"] == "chars, items are lines"
    assert rows["Split"] == (
        "lecture, seed 42: 1,000 lines for train, 117 lines for dev, 117 lines for test"
    )
    assert rows["Of dev also in train"] == f"{shared:.1%}"
    words = RunConfig(data=DataConfig(items="paragraph", unit="word"))
    rows = dict(data_rows(data, words))
    assert rows["Tokens"] == "words, items are paragraphs"
    assert "117 paragraphs for dev" in rows["Split"]
    rows = dict(data_rows(data, RunConfig(data=DataConfig(items="document"))))
    assert rows["Split"].endswith(": in its order, 80/10/10")


def test_a_setting_has_what_to_sort_by_beside_what_to_show():
    setting = Setting({"learning_rate": 0.1, "optimizer": "sgd"}, 11_897, 2000, 2.0, [2.0])
    assert setting_row(setting) == [
        *(("0.1", "0.1"), ("sgd", "sgd"), ("11897", "11,897"), ("2000", "2,000")),
        ("2.0", "2.0000"),
    ]
    diverged = Setting({"learning_rate": 9.0}, 1, 1, math.inf, [math.inf])
    assert setting_row(diverged)[-1] == ("inf", "diverged")
