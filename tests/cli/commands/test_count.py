"""mm-jax count, and training the neural bigram: what they print, write, and that numbers agree."""

import functools
import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.data import ngram_counts
from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.splits import overlap, split_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.models.baselines import add_k
from mm_jax.runtime import paths
from tests.cli.commands.conftest import DOCUMENT, KNESER_NEY, OF_WORDS
from tests.data.by_hand import count_by_hand
from tests.helpers import call, record_of

NAMES = read_lines("names").lines[::15]
V = len(set("".join(NAMES))) + 1
HALF = ["--smoothing", "0.5"]  # one model compiles once


def add_k_loss(train, lines, order, k):
    """The loss of add-k n-grams in plain Python."""
    counts, totals = count_by_hand(train, order), Counter()
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
    found = count_by_hand(lines, order)
    nats = [
        count * -math.log((counts[ngram] + k) / (totals[ngram[:-1]] + k * V))
        for ngram, count in found.items()
    ]
    return math.fsum(nats) / found.total()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(NAMES))
    return str(path)


@pytest.fixture(scope="module")
def records(data, tmp_path_factory):
    """Runs of counts by name, and what --json said of them."""
    folder = tmp_path_factory.mktemp("counted")
    runs = {
        "half": HALF,
        "zero": ["--smoothing", "0"],
        "auto": ["--order", "auto", "--smoothing", "auto"],
        "auto of order 3": ["--order", "3", "--smoothing", "auto"],
        "kneser-ney": ["--order", "3", "--smoothing", "kneser-ney"],
    }
    return {
        name: record_of("count", "--data", data, *flags, "--out", str(folder / name))
        for name, flags in runs.items()
    }


@pytest.fixture
def copy(records):
    """Return copy(name): a copy of a run that a test may damage."""

    def copy(name):
        shutil.copytree(records[name]["run_dir"], "run")
        return Path("run")

    return copy


# The lecture's numbers


def test_the_lectures_counts_and_losses(lecture_text):
    """The most frequent pairs, and 2.4540145 nats per symbol without smoothing (2.4540 there)."""
    flags = ["--data", str(lecture_text.path), "--split", "none", "--smoothing", "1"]
    record = record_of("count", *flags, "--out", "run")
    assert record["loss"] == record["train_loss"] == pytest.approx(2.4545768, abs=5e-8)
    assert record["dev_loss"] is None
    counts = count_lines(lecture_text.lines, build_vocab(lecture_text.lines), 2)
    for k, loss in ((0.0, 2.4540145), (5.0, 2.4576827)):
        assert add_k(counts, None, k).train_loss == pytest.approx(loss, abs=5e-8)
    expected = {"n.": 6763, "a.": 6640, "an": 5438, ".a": 4410, "e.": 3983, "ar": 3264}
    assert record["num_examples"] == 228_146
    assert record["most_frequent"][:6] == [list(item) for item in expected.items()]
    assert ["dz", 1] in record["least_frequent"]
    scored = record_of("score", "run", "andrej", "andrejq")
    assert scored["nats_per_symbol"] == pytest.approx([3.0367718, 3.4834020], abs=1e-6)


# What it says


def test_losses_are_those_of_the_formula(records):
    train, dev, _ = split_lines(NAMES)
    record = records["half"]
    assert record["train_loss"] == pytest.approx(add_k_loss(train, train, 2, 0.5), abs=1e-9)
    assert record["dev_loss"] == pytest.approx(add_k_loss(train, dev, 2, 0.5), abs=1e-9)
    assert record["loss"] == record["dev_loss"]


def test_counts_are_those_of_a_counter(records):
    train, dev, _ = split_lines(NAMES)
    record, counts = records["half"], count_by_hand(train, 2)
    assert record["num_lines"] == len(NAMES)
    assert record["split_lines"] == [*map(len, split_lines(NAMES))]
    assert record["dev_lines_in_train"] == overlap(dev, train)
    assert record["vocab_size"] == V
    assert record["num_params"] == V * V
    assert (record["num_examples"], record["num_distinct"]) == (counts.total(), len(counts))
    assert [number for _, number in record["most_frequent"]] == sorted(counts.values())[:-11:-1]
    assert [number for _, number in record["least_frequent"]] == sorted(counts.values())[:10]
    for ngram, number in record["most_frequent"] + record["least_frequent"]:
        assert counts[ngram] == number


def test_auto_takes_what_is_best_on_dev(records):
    auto = records["auto"]
    lowest = min(auto["rungs"], key=lambda rung: rung["dev_loss"])
    assert lowest["kind"] == auto["config"]["model"]["name"] == "kneser-ney"
    assert auto["config"]["model"]["order"] == lowest["order"]
    assert auto["loss"] == lowest["dev_loss"]
    auto = records["auto of order 3"]
    order, k = 3, auto["config"]["model"]["smoothing"]
    by_order = {rung["order"]: rung for rung in auto["rungs"] if rung["kind"] == "add-k"}
    assert k == by_order[order]["smoothing"]
    assert auto["config"]["model"] == {"name": "ngram", "order": order, "smoothing": k}
    train, dev, _ = split_lines(NAMES)
    assert auto["dev_loss"] == pytest.approx(add_k_loss(train, dev, order, k), abs=1e-9)
    for other in (k / 1.1, k * 1.1):
        assert add_k_loss(train, dev, order, other) > auto["dev_loss"]


def test_the_floors(records):
    auto = records["auto"]
    floors = auto["floors"]
    assert floors["uniform"] == pytest.approx(math.log(V))
    train, dev, _ = split_lines(NAMES)
    assert floors["unigram"] <= add_k_loss(train, dev, 1, 1e-9) + 1e-9
    assert floors["unigram"] == pytest.approx(add_k_loss(train, dev, 1, 1.0), abs=1e-3)
    assert floors["bigram"] <= add_k_loss(train, dev, 2, 1.0)
    assert floors["kneser_ney"]["dev_loss"] < floors["add_k"]["dev_loss"] < floors["bigram"]
    assert floors["kneser_ney"]["dev_loss"] == auto["dev_loss"]


@pytest.mark.parametrize("name", ["auto", "kneser-ney"])
def test_the_run_evaluates_and_samples_as_it_was_counted(records, name):
    record = records[name]
    evaluated = record_of("eval", record["run_dir"])
    assert evaluated["loss"] == pytest.approx(record["dev_loss"], abs=2e-6)
    assert evaluated["config"] == record["config"]
    assert not (Path(record["run_dir"]) / "test_looks.jsonl").exists()
    assert record_of("sample", record["run_dir"])["samples"] == record["samples"]
    assert len(record["samples"]) == 20
    kept = Path(record["run_dir"], "samples.txt").read_text().splitlines()
    assert kept == record["samples"]
    metrics = json.loads(Path(record["run_dir"], "metrics.jsonl").read_text())
    assert metrics == {key: record[key] for key in ("train_loss", "dev_loss")}


def test_kneser_ney_gives_every_line_some_probability(records):
    record = records["kneser-ney"]
    assert record["config"]["model"] == {"name": "kneser-ney", "order": 3}
    evaluated = record_of("eval", record["run_dir"], "--split-name", "train")
    assert evaluated["loss"] == pytest.approx(record["train_loss"], abs=2e-6)
    assert math.isfinite(record_of("score", record["run_dir"], "zzxqj")["nats"][0])
    rung = next(r for r in record["rungs"] if (r["kind"], r["order"]) == ("kneser-ney", 3))
    assert rung["dev_loss"] == record["dev_loss"]


def test_the_split_is_that_of_training(data, records):
    said, _ = call("count", "--data", data, *HALF, "--split", "unique")
    parts = split_lines(NAMES, "unique")
    assert " / ".join(f"{len(part):,}" for part in parts) in said
    kept = json.loads(Path(records["half"]["run_dir"], "config.json").read_text())["data"]
    train, dev, test = split_lines(NAMES)
    assert kept["split_lines"] == [len(train), len(dev), len(test)]
    assert kept["dev_lines_in_train"] == overlap(dev, train)


def test_an_infinite_loss_names_what_is_to_blame(data, records):
    train, dev, _ = split_lines(NAMES)
    seen, wanted = count_by_hand(train, 2), count_by_hand(dev, 2)
    blamed = {ngram: count for ngram, count in wanted.items() if ngram not in seen}
    assert blamed
    record = records["zero"]
    assert record["dev_loss"] == record["loss"] == "inf"
    assert record["num_impossible"] == len(blamed)
    assert record["impossible"][0][1] == max(blamed.values())
    assert all(blamed[ngram] == count for ngram, count in record["impossible"])
    evaluated = record_of("eval", record["run_dir"])
    assert (evaluated["loss"], evaluated["perplexity"]) == ("inf", "inf")
    assert set(evaluated["impossible"]) <= blamed.keys()
    assert evaluated["num_impossible"] == len(blamed)
    said, _ = call("eval", record["run_dir"])
    assert evaluated["impossible"][0] in said
    said, _ = call("count", "--data", data, "--smoothing", "0")
    assert f"The loss on dev is infinite: {len(blamed):,} n-grams of dev" in said


def test_what_is_impossible_scores_infinite_nats(records):
    unseen = next(ngram for ngram, _ in records["zero"]["impossible"] if "." not in ngram)
    record = record_of("score", records["zero"]["run_dir"], unseen)
    assert record["nats"] == ["inf"]
    assert unseen in record["impossible"][0]
    out, _ = call("score", records["zero"]["run_dir"], unseen)
    assert "inf nats" in out
    assert f"{unseen} has no probability" in out


def test_without_out_nothing_is_written(data, tmp_path):
    out, err = call("count", "--data", data, *HALF)
    assert "keep the model with --out" in out
    assert err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--order 0", ["--order", "at least 1"]),
        ("--order x", ["--order", "INT", "auto", "not 'x'"]),
        ("--order 9", ["GB", "orders 1 to"]),
        ("--order 21 --smoothing kneser-ney", ["orders 2 to", "not 21"]),
        ("--order 1 --smoothing kneser-ney", ["--order 2 or more", "not 1"]),
        ("--order 1 --model interpolated", ["--model interpolated takes --order 2", "not 1"]),
        ("--model interpolated --smoothing 3", ["--smoothing 3.0 is for --model ngram"]),
        ("--model interpolated --smoothing kneser-ney", ["is for --model ngram"]),
        ("--model mlp", ["--model", "mlp"]),
        ("--smoothing -1", ["--smoothing", "at least 0"]),
        ("--smoothing nan", ["--smoothing", "finite"]),
        ("--smoothing 1e-38", ["--smoothing", "0 or at least 1e-30"]),
        ("--smoothing some", ["--smoothing", "must be a number or auto,kneser-ney", "not 'some'"]),
        ("--order auto --split none", ["auto", "--split none"]),
        ("--smoothing auto --split none", ["auto", "--split none"]),
        ("--data missing.txt", ["missing.txt", "No such file"]),
        ("--split other", ["--split", "other"]),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(tmp_path, flags, words):
    out, err = call("count", *flags.split(), "--out", "run", code=2)
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


def test_lines_shorter_than_the_orders():
    Path("short.txt").write_text("\n".join("abcdefghij"))
    flags = ["--data", "short.txt", "--smoothing", "kneser-ney"]
    record = record_of("count", *flags, "--order", "6", "--out", "run")
    evaluated = record_of("eval", "run", "--split-name", "train")
    assert evaluated["loss"] == pytest.approx(record["train_loss"], abs=1e-5)


def test_more_ngrams_than_can_be_held_are_said(data, records, monkeypatch):
    bigrams = [count_by_hand(part, 2) for part in split_lines(NAMES)[:2]]
    monkeypatch.setattr(ngram_counts, "MAX_NGRAMS", sum(map(len, bigrams)))
    monkeypatch.setattr(ngram_counts, "MAX_TABLE_CELLS", 0)
    out, _ = call("count", "--data", data, *HALF)
    assert "too many different n-grams to count beyond order 2" in out
    held = record_of("count", "--data", data, *HALF)
    for name in ("train_loss", "dev_loss", "most_frequent", "num_distinct", "samples"):
        assert held[name] == records["half"][name]
    assert max(rung["order"] for rung in held["rungs"]) == 2


def test_a_large_file_is_announced_and_not_searched_for_samples(data, records, monkeypatch):
    run = records["half"]["run_dir"]
    assert record_of("sample", run)["in_train"] is not None
    monkeypatch.setattr(paths, "LARGE_FILE_BYTES", 1000)
    assert record_of("sample", run)["in_train"] is None
    monkeypatch.setattr("mm_jax.cli.commands.count.LARGE_FILE_BYTES", 1000)
    assert "MB, twice" in call("count", "--data", data, *HALF)[1]


@pytest.mark.slow
def test_a_pipe_is_counted_and_never_read_again(tmp_path):
    text = "\n".join(NAMES[:300])
    command = [sys.executable, "-m", "mm_jax"]
    run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=120)
    counted = run([*command, "count", "--data", "/dev/stdin", "--out", "run"], input=text)
    assert counted.returncode == 0, counted.stderr
    assert "300 lines" in counted.stdout
    made = run([*command, "sample", "run", "--num", "3"], input="never read")
    assert made.returncode == 0
    assert made.stdout.splitlines() == counted.stdout.splitlines()[-20:-17]
    assert "not marked" in made.stderr
    again = run([*command, "eval", "run"], input="never read")
    assert again.returncode == 2
    assert "no regular file" in again.stderr


# Runs of counts that were damaged


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("half", lambda arrays: arrays["counts"].__setitem__((1, 2), -3)),
        ("kneser-ney", lambda arrays: arrays["next"].__setitem__((0, 1), 10**6)),
        ("kneser-ney", lambda arrays: arrays["logits"].__setitem__((0, 1), np.nan)),
        ("kneser-ney", lambda arrays: arrays.update(next=arrays["next"][:-1])),
        ("kneser-ney", lambda arrays: arrays.pop("next")),
        ("kneser-ney", lambda arrays: arrays.update(next=arrays["next"][:, :-1])),
    ],
    ids=["negative", "out of range", "nan", "too short", "missing", "too narrow"],
)
def test_damaged_counts_are_refused(copy, name, change):
    path = copy(name) / "params.safetensors"
    arrays = {key: array.copy() for key, array in load_file(path).items()}
    change(arrays)
    save_file(arrays, path)
    _, err = call("sample", "run", code=2)
    assert "params.safetensors" in err
    assert err.count("\n") == 1


# Training the bigram


BIGRAM = ["--preset", "bigram", "--steps", "20"]


@pytest.fixture(scope="module")
def bigram(data, tmp_path_factory):
    """What train said of a neural bigram."""
    out = tmp_path_factory.mktemp("bigram") / "run"
    return record_of("train", *BIGRAM, "--data", data, "--out", str(out))


def test_a_full_batch_merges_what_is_equal(bigram):
    path = Path(bigram["run_dir"], "metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 21))
    assert bigram["num_params"] == V * V
    assert bigram["num_examples"] == sum(len(line) + 1 for line in split_lines(NAMES).train)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == sorted(losses, reverse=True)


def test_a_run_of_the_first_format_is_still_read(bigram):
    shutil.copytree(bigram["run_dir"], "run")
    path = Path("run/config.json")
    config = json.loads(path.read_text())
    config["format"] = 1
    for choice in ("full_batch", "regularization"):
        del config["config"][choice]
    path.write_text(json.dumps(config))
    evaluated = record_of("eval", "run", "--split-name", "train")
    assert evaluated["loss"] == pytest.approx(bigram["train_loss"], abs=1e-5)
    assert evaluated["config"]["regularization"] == 0


def test_regularization_raises_the_train_loss(data, bigram):
    bound = record_of("train", *BIGRAM, "--data", data, "--regularization", "1", "--out", "bound")
    assert bound["train_loss"] > bigram["train_loss"] + 0.01
    W = [load_file(f"{run}/params.safetensors")["W"] for run in (bigram["run_dir"], "bound")]
    assert np.square(W[1]).mean() < np.square(W[0]).mean()


@pytest.mark.slow
def test_lbfgs_on_all_lines_reaches_the_counts():
    flags = ["--model", "bigram", "--full-batch", "--optimizer", "lbfgs", "--steps", "600"]
    record = record_of("train", *flags, "--split", "none", "--out", "run")
    counted = record_of("count", "--split", "none", "--smoothing", "0")["train_loss"]
    assert counted - 1e-6 < record["train_loss"] < counted + 1e-5
    assert record["dev_loss"] is None
    said = record_of("eval", "run")
    assert said["split_name"] == "all"
    assert said["loss"] == pytest.approx(record["train_loss"], abs=1e-5)
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert not any("learning_rate" in line for line in lines)
    _, err = call("eval", "run", "--split-name", "dev", code=2)
    assert "holds no lines out" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model ngram", ["ngram is counted", "mm-jax count"]),
        ("--model kneser-ney", ["kneser-ney is counted", "mm-jax count"]),
        ("--model bigram --optimizer lbfgs", ["lbfgs needs --full-batch"]),
        ("--model bigram --full-batch --optimizer lbfgs --clip-norm 1", ["--clip-norm"]),
        ("--model bigram --context 3", ["--context"]),
        ("--regularization -1", ["--regularization", "at least 0"]),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path, flags, words):
    _, err = call("train", *flags.split(), code=2)
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


# Large alphabets


@pytest.fixture(scope="module")
def many_symbols(tmp_path_factory):
    """60 lines over 2,000 different symbols, and the file they are in."""
    path = tmp_path_factory.mktemp("symbols") / "many.txt"
    symbols = [chr(0x4E00 + i) for i in range(2000)]
    lines = ["".join(symbols[i : i + 40]) for i in range(0, 2000, 40)]
    path.write_text("\n".join(lines + [symbols[i] + symbols[2 * i] + "一" for i in range(10)]))
    return str(path)


def test_without_out_what_was_counted_is_reported_where_the_model_does_not_fit(
    many_symbols, monkeypatch
):
    monkeypatch.setattr("mm_jax.data.ngrams.memory_bytes", lambda: 16 * 2001**2 - 1)
    out, err = call("count", "--data", many_symbols, "--json")
    record = json.loads(out)
    assert record["loss"] == record["dev_loss"] > 0
    assert record["samples"] is record["num_params"] is record["run_dir"] is None
    assert "no samples: a table of order 2 has 2001^2" in err
    out, err = call("count", "--data", many_symbols)
    assert "this model" in out
    assert "no samples" in err


def test_with_out_a_model_that_does_not_fit_is_refused_before_counting(many_symbols, monkeypatch):
    monkeypatch.setattr("mm_jax.data.ngrams.memory_bytes", lambda: 16 * 2001**2 - 1)
    monkeypatch.setattr("mm_jax.experiments.counting.count_stream", None)
    _, err = call("count", "--data", many_symbols, "--out", "run", code=2)
    assert "a table of order 2 has 2001^2" in err
    assert not Path("run").exists()


def test_kneser_ney_of_many_symbols_is_kept_by_the_ngrams_that_occur(many_symbols):
    flags = ["--data", many_symbols, "--order", "6", "--smoothing", "kneser-ney"]
    record = record_of("count", *flags, "--out", "run")
    assert sum(file.stat().st_size for file in Path("run").iterdir()) < 10**6
    assert record_of("eval", "run")["loss"] == pytest.approx(record["loss"], rel=1e-6)
    assert record_of("sample", "run")["samples"] == record["samples"]
    assert record["num_params"] < 2 * 2001 + 40 * record["num_distinct"]


def test_the_table_says_by_which_flags_the_model_was_chosen(data):
    out, _ = call("count", "--data", data, "--order", "auto", "--smoothing", "auto")
    assert "this model, the lowest on dev (--order auto --smoothing auto)" in out
    out, _ = call("count", "--data", data)
    assert [line.split("  ")[-1] for line in out.splitlines() if "this model" in line] == [
        "this model"
    ]


# Words


def test_words_are_counted_in_train_and_told_per_word_and_character(words_folder, words_counted):
    symbols = json.loads((words_folder / "run" / "config.json").read_text())["symbols"]
    assert {"<num>", "</s>", "<unk>", "mr", "day"} < {*symbols}
    data = json.loads((words_folder / "run" / "config.json").read_text())["data"]
    words, unknown, characters = (
        data[f"split_{name}"] for name in ("words", "unknown", "characters")
    )
    assert sum(characters) == len(DOCUMENT)
    assert sum(unknown) == 60  # each of w0 to w59 is there once
    loss = words_counted["loss"]
    assert words_counted["perplexity"] == pytest.approx(np.exp(loss))
    bits = loss * words[1] / np.log(2)
    assert words_counted["bits_per_character"] == pytest.approx(bits / characters[1])
    assert words_counted["unknown_rate"] == pytest.approx(unknown[1] / words[1])
    Path("text.txt").write_text(DOCUMENT)
    out, _ = call("count", "--data", "text.txt", *OF_WORDS, *KNESER_NEY)
    assert f"(dev perplexity {words_counted['perplexity']:.2f} per word, " in out
    assert f"unknown    {words_counted['unknown_rate']:.1%} of the words of dev\n" in out
    chars = record_of("count", "--data", "text.txt")
    assert (chars["bits_per_character"], chars["unknown_rate"]) == (None, None)


def test_a_word_of_dev_alone_is_unknown_unless_all_words_are_counted():
    Path("text.txt").write_text("a b a b c d\n" * 40 + "late late\n" * 20)
    choices = ["--data", "text.txt", "--items", "document", "--unit", "word", "--min-count", "2"]
    in_train = record_of("count", *choices)
    everywhere = record_of("count", *choices, "--count-words-in", "all")
    assert in_train["vocab_size"] + 1 == everywhere["vocab_size"]
    assert in_train["unknown_rate"] > 0.5
    assert everywhere["unknown_rate"] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--unit", "word", "--min-count", "999"], "no word occurs 999 times, .* '.', occurs "),
        (["--min-count", "2"], "--min-count is for --unit word"),
        (["--merge-numbers"], "--merge-numbers is for --unit word"),
        (["--unit", "byte", "--sentence-ends"], "--sentence-ends is for --unit word"),
        (["--count-words-in", "all"], "--count-words-in is for --unit word"),
        (["--unit", "word", "--min-count", "2", "--split", "unique"], "--count-words-in all"),
    ],
)
def test_choices_of_words_that_cannot_be_are_refused(flags, said):
    Path("text.txt").write_text(DOCUMENT)
    err = call("count", "--data", "text.txt", *flags, "--out", "run", code=2)[1]
    assert re.search(said, err)
    assert err.count("\n") == 1
    assert not Path("run").exists()


# Models by name


@pytest.mark.parametrize(("name", "order"), [("interpolated", 3), ("kneser-ney", 6), ("ngram", 2)])
def test_a_model_has_its_usual_order(data, name, order):
    record = record_of("count", "--data", data, "--model", name)
    choices = {"smoothing": 1.0} if name == "ngram" else {}
    assert record["config"]["model"] == {"name": name, "order": order, **choices}


def test_kneser_ney_by_either_name_is_the_same(data, records):
    record = record_of("count", "--data", data, "--model", "kneser-ney", "--order", "3")
    for key in ("train_loss", "dev_loss", "samples"):
        assert record[key] == records["kneser-ney"][key]


def test_interpolated_counts_are_evaluated_and_sampled_as_any_other(data):
    out, err = call("count", "--data", data, "--model", "interpolated", "--out", "run")
    assert "  order 3, interpolated" in out
    assert err == ""
    record = record_of("count", "--data", data, "--model", "interpolated", "--out", "again")
    evaluated = record_of("eval", "run")
    assert evaluated["loss"] == pytest.approx(record["dev_loss"], abs=2e-6)
    assert record_of("sample", "run")["samples"] == record["samples"]
