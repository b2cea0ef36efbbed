"""mm-jax count, and training the neural bigram: what they say, write, and that numbers agree."""

import functools
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.data import ngram_counts, text
from mm_jax.data.splits import overlap, split_lines
from mm_jax.data.text import read_lines
from tests.helpers import call, record_of

NAMES = read_lines("names").lines
FEW = ["emma", "ava", "mia", "amelia", "eva", "ema", "mae", "lea", "ela", "mila"] * 3


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No command depends on the folder that it is started from."""
    monkeypatch.chdir(tmp_path)


def bigrams_of(lines):
    """Counts of pairs, by the lecture's loop."""
    return Counter(pair for line in lines for pair in zip("." + line, line + ".", strict=True))


def bigram_loss(train, lines, k):
    """The loss of add-k bigrams in plain Python."""
    counts = bigrams_of(train)
    totals = Counter()
    for (first, _), count in counts.items():
        totals[first] += count
    V = len(set("".join(NAMES))) + 1
    nats = [
        count * -math.log((counts[pair] + k) / (totals[pair[0]] + k * V))
        for pair, count in bigrams_of(lines).items()
    ]
    return math.fsum(nats) / bigrams_of(lines).total()


# The lecture's numbers


@pytest.fixture(scope="module")
def lecture(lecture_text, tmp_path_factory):
    """Runs of the lecture's bigrams by k, and what was said of them."""
    folder = tmp_path_factory.mktemp("lecture")
    flags = ["--data", str(lecture_text.path), "--split", "none"]
    return {
        k: record_of("count", *flags, "--smoothing", str(k), "--out", str(folder / str(k)))
        for k in (0, 1, 5)
    }


def test_the_lectures_counts(lecture):
    record = lecture[0]
    assert record["num_examples"] == 228_146
    expected = {"n.": 6763, "a.": 6640, "an": 5438, ".a": 4410, "e.": 3983, "ar": 3264}
    assert record["most_frequent"][:6] == [list(item) for item in expected.items()]
    assert {count for _, count in record["least_frequent"]} == {1}
    assert ["dz", 1] in record["least_frequent"]


@pytest.mark.parametrize(("k", "loss"), [(0, 2.4540145), (1, 2.4545768), (5, 2.4576827)])
def test_the_lectures_losses(lecture, k, loss):
    record = lecture[k]
    assert record["loss"] == record["train_loss"] == pytest.approx(loss, abs=5e-8)
    assert record["dev_loss"] is None
    said = record_of("eval", record["run_dir"])
    assert said["loss"] == pytest.approx(loss, abs=1e-6)
    assert "test_looks" not in said  # no line is held out


def test_andrej_and_andrejq(lecture):
    one = record_of("score", lecture[1]["run_dir"], "andrej", "andrejq")
    assert one["nats_per_symbol"] == pytest.approx([3.0367718, 3.4834020], abs=1e-6)
    assert one["impossible"] == [[], []]
    none = record_of("score", lecture[0]["run_dir"], "andrej", "andrejq")
    assert none["nats"][1] == "inf"
    assert none["impossible"] == [[], ["jq"]]
    out, _ = call("score", lecture[0]["run_dir"], "andrejq")
    assert "inf nats" in out
    assert "jq has no probability" in out


# What it says


@pytest.fixture(scope="module")
def auto(tmp_path_factory):
    out = tmp_path_factory.mktemp("auto") / "run"
    flags = ["--order", "auto", "--smoothing", "auto", "--out", str(out)]
    return record_of("count", *flags)


def test_losses_are_those_of_the_formula():
    train, dev, _ = split_lines(NAMES)
    record = record_of("count", "--smoothing", "0.5")
    assert record["train_loss"] == pytest.approx(bigram_loss(train, train, 0.5), abs=1e-9)
    assert record["dev_loss"] == pytest.approx(bigram_loss(train, dev, 0.5), abs=1e-9)
    assert record["loss"] == record["dev_loss"]


def test_auto_takes_what_is_best_on_dev(auto):
    chosen = auto["config"]["model"]
    by_order = {rung["order"]: rung for rung in auto["rungs"] if rung["kind"] == "add-k"}
    assert chosen["order"] == min(by_order, key=lambda order: by_order[order]["dev_loss"])
    assert chosen["smoothing"] == by_order[chosen["order"]]["smoothing"]
    for k in (chosen["smoothing"] / 1.1, chosen["smoothing"] * 1.1):
        flags = ["--order", str(chosen["order"]), "--smoothing", f"{k:g}"]
        assert record_of("count", *flags)["dev_loss"] > auto["dev_loss"]


def test_the_floors(auto):
    floors = auto["floors"]
    assert floors["uniform"] == pytest.approx(math.log(27))
    train, dev, _ = split_lines(NAMES)
    symbols, total = Counter("".join(line + "." for line in train)), sum(map(len, train))
    probs = {symbol: count / (total + len(train)) for symbol, count in symbols.items()}
    unigram = -np.mean([math.log(probs[symbol]) for line in dev for symbol in line + "."])
    assert floors["unigram"] == pytest.approx(unigram, abs=1e-3)
    assert floors["bigram"] <= bigram_loss(train, dev, 1.0)
    assert floors["kneser_ney"]["dev_loss"] < floors["add_k"]["dev_loss"] < floors["bigram"]
    assert floors["add_k"]["dev_loss"] == auto["dev_loss"]


def test_the_run_evaluates_as_it_was_counted(auto):
    for name in ("train", "dev"):
        said = record_of("eval", auto["run_dir"], "--split-name", name)
        assert said["loss"] == pytest.approx(auto[f"{name}_loss"], abs=2e-6)
    assert said["config"] == auto["config"]
    assert not (Path(auto["run_dir"]) / "test_looks.jsonl").exists()


def test_the_run_makes_the_samples_that_were_shown(auto):
    assert record_of("sample", auto["run_dir"])["samples"] == auto["samples"]
    assert len(auto["samples"]) == 20


def test_kneser_ney_is_a_run_as_any_other(tmp_path):
    flags = ["--order", "3", "--smoothing", "kneser-ney", "--out", "run"]
    record = record_of("count", *flags)
    assert record["config"]["model"] == {"name": "kneser-ney", "order": 3}
    for name in ("train", "dev"):
        said = record_of("eval", "run", "--split-name", name)
        assert said["loss"] == pytest.approx(record[f"{name}_loss"], abs=2e-6)
    assert record_of("sample", "run", "--num", "20")["samples"] == record["samples"]
    assert math.isfinite(record_of("score", "run", "zzxqj")["nats"][0])
    rung = next(r for r in record["rungs"] if (r["kind"], r["order"]) == ("kneser-ney", 3))
    assert rung["dev_loss"] == record["dev_loss"]


def test_the_split_is_that_of_training():
    said, _ = call("count", "--split", "unique")
    parts = split_lines(NAMES, "unique")
    assert " / ".join(f"{len(part):,}" for part in parts) in said
    record_of("count", "--out", "run")
    data = json.loads(Path("run/config.json").read_text())["data"]
    train, dev, test = split_lines(NAMES)
    assert data["split_lines"] == [len(train), len(dev), len(test)]
    assert data["dev_lines_in_train"] == overlap(dev, train)


def test_an_infinite_loss_names_what_is_to_blame():
    Path("few.txt").write_text("\n".join([*FEW, "zoe"]))
    seed = next(
        seed for seed in range(100) if "zoe" in split_lines([*FEW, "zoe"], "lecture", seed).dev
    )
    flags = ["--data", "few.txt", "--split-seed", str(seed), "--smoothing", "0", "--out", "run"]
    record = record_of("count", *flags)
    assert record["dev_loss"] == record["loss"] == "inf"
    assert [".z", 1] in record["impossible"]
    said = record_of("eval", "run")
    assert (said["loss"], said["perplexity"]) == ("inf", "inf")
    assert ".z" in said["impossible"]
    assert ".z" in call("eval", "run")[0]


def test_without_out_nothing_is_written(tmp_path):
    call("count", "--smoothing", "1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--order 0", ["--order", "at least 1"]),
        ("--order x", ["--order", "INT", "auto", "not 'x'"]),
        ("--order 9", ["GB", "orders 1 to"]),
        ("--order 7 --smoothing kneser-ney", ["--order 2 to 6", "not 7"]),
        ("--order 1 --smoothing kneser-ney", ["--order 2 to 6", "not 1"]),
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


@pytest.mark.parametrize("split", ["lecture", "none"])
def test_lines_shorter_than_the_orders(split):
    Path("short.txt").write_text("\n".join("abcdefghij"))
    flags = ["--data", "short.txt", "--split", split, "--smoothing", "kneser-ney"]
    record = record_of("count", *flags, "--order", "6", "--out", "run")
    said = record_of("eval", "run", "--split-name", "train")
    assert said["loss"] == pytest.approx(record["train_loss"], abs=1e-5)


def test_a_giant_line_is_counted_in_slices(monkeypatch):
    line = "".join(NAMES[:200])
    Path("giant.txt").write_text(line)
    flags = ["--data", "giant.txt", "--split", "none", "--order", "3", "--smoothing", "0"]
    whole = record_of("count", *flags)
    monkeypatch.setattr(ngram_counts, "SLICE", 7)
    sliced = record_of("count", *flags)
    for name in ("train_loss", "rungs", "most_frequent", "least_frequent", "num_examples"):
        assert sliced[name] == whole[name]
    assert whole["num_examples"] == len(line) + 1


def test_an_order_with_too_many_ngrams_to_hold_is_counted_in_its_table(monkeypatch):
    flags = ["--order", "4", "--smoothing", "0.5"]
    held = record_of("count", *flags)
    monkeypatch.setattr(ngram_counts, "MOST", 2000)
    monkeypatch.setattr(ngram_counts, "TABLE", 1000)
    tabled = record_of("count", *flags)
    for name in ("train_loss", "dev_loss", "most_frequent", "num_distinct", "samples"):
        assert tabled[name] == held[name]
    assert max(rung["order"] for rung in tabled["rungs"]) == 2
    _, err = call("count", "--order", "4", "--smoothing", "kneser-ney", code=2)
    assert "order 2 can be counted" in err


def test_a_large_file_is_not_searched_for_samples(monkeypatch):
    call("count", "--out", "run")
    assert record_of("sample", "run")["in_train"] is not None
    monkeypatch.setattr(text, "LARGE_FILE", 1000)
    assert record_of("sample", "run")["in_train"] is None


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
    ("smoothing", "change"),
    [
        ("1", lambda arrays: arrays["counts"].__setitem__((1, 2), -3)),
        ("kneser-ney", lambda arrays: arrays["next"].__setitem__((0, 1), 10**6)),
        ("kneser-ney", lambda arrays: arrays["logits"].__setitem__((0, 1), np.nan)),
        ("kneser-ney", lambda arrays: arrays.update(next=arrays["next"][:-1])),
        ("kneser-ney", lambda arrays: arrays.pop("next")),
        ("kneser-ney", lambda arrays: arrays.update(next=arrays["next"][:, :-1])),
    ],
)
def test_damaged_counts_are_refused(smoothing, change):
    call("count", "--smoothing", smoothing, "--out", "run")
    arrays = {name: array.copy() for name, array in load_file("run/params.safetensors").items()}
    change(arrays)
    save_file(arrays, "run/params.safetensors")
    _, err = call("sample", "run", code=2)
    assert "params.safetensors" in err
    assert err.count("\n") == 1


# Training the bigram


def test_a_full_batch_merges_what_is_equal():
    flags = ["--preset", "bigram", "--steps", "20"]
    record = record_of("train", *flags, "--out", "run")
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 21))
    assert record["num_params"] == 27 * 27
    assert record["num_examples"] == sum(len(line) + 1 for line in split_lines(NAMES).train)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == sorted(losses, reverse=True)
    said = record_of("eval", "run", "--split-name", "train")
    assert said["loss"] == pytest.approx(record["train_loss"], abs=1e-5)


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


def test_regularization_raises_the_train_loss():
    flags = ["--preset", "bigram", "--steps", "50"]
    free, bound = (
        record_of("train", *flags, *more, "--out", out)
        for out, more in (("free", []), ("bound", ["--regularization", "1"]))
    )
    assert bound["train_loss"] > free["train_loss"] + 0.01
    W = [load_file(f"{out}/params.safetensors")["W"] for out in ("free", "bound")]
    assert np.square(W[1]).mean() < np.square(W[0]).mean()


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


def test_a_run_of_the_first_format_is_still_read():
    record = record_of("train", "--preset", "bigram", "--steps", "1", "--out", "run")
    path = Path("run/config.json")
    config = json.loads(path.read_text())
    config["format"] = 1
    for choice in ("full_batch", "regularization"):
        del config["config"][choice]
    path.write_text(json.dumps(config))
    said = record_of("eval", "run")
    assert said["loss"] == pytest.approx(record["dev_loss"], abs=1e-5)
    assert said["config"]["regularization"] == 0
