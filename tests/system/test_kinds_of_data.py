"""Data of each kind, from a file to a run that is evaluated, sampled, scored and reported."""

import json
from pathlib import Path

import pytest

from mm_jax.runs.layout import FORMAT
from mm_jax.runs.reader import load_run, read_samples, run_dataset
from tests.helpers import call, record_of

SMALL = ["--model", "bigram", "--init", "scaled", "--steps", "5", "--batch-size", "8"]
DOTS = [a + b for a in ("St. ", "Mt. ", "") for b in ("Ava", "Emma", "Lea", "Noor", "Mia", "Eva")]
WORDS = ["the cat sat.", "a dog ran, and the cat ran.", "The dog sat.", "a cat ran."] * 5
PARAGRAPHS = ["the cat sat\non a mat.", "a dog ran,\nand the cat ran.", "the dog sat"] * 5


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(text, *flags):
    """Train on a text; return what train says."""
    Path("data.txt").write_text(text)
    return record_of("train", "--data", "data.txt", *flags, *SMALL, "--out", "run")


def check_run(trained, line, tokens, end):
    """Check whether what uses the run agrees with training, and a line has these tokens."""
    assert record_of("eval", "run")["loss"] == trained["dev_loss"]
    assert record_of("sample", "run")["samples"] == trained["samples"]
    scored = record_of("score", "run", line)
    assert [symbol for symbol, _ in scored["symbols"][0]] == [*tokens, end]
    call("report", "run")
    for texts in (trained["samples"], load_run("run").vocab.split(line)):
        assert all(isinstance(text, str) for text in texts)
    assert json.loads(Path("run/config.json").read_text())["format"] == FORMAT


def test_lines_with_full_stops_are_lines_like_others():
    trained = train("\n".join(DOTS), "--split", "unique")
    symbols = json.loads(Path("run/config.json").read_text())["symbols"]
    assert symbols == ["↵", *sorted(set("".join(DOTS)))]
    assert "." in symbols
    assert "." in "".join(trained["samples"])
    check_run(trained, "St. Ava.", "St. Ava.", "↵")
    made = record_of("sample", "run", "--prefix", "St. ", "--num", "5")["samples"]
    assert len(made) == 5
    assert all(line.startswith("St. ") for line in made)
    counted = record_of("count", "--data", "data.txt", "--smoothing", "0", "--out", "counted")
    evaluated = record_of("eval", "counted", "--split-name", "train")
    assert evaluated["loss"] == pytest.approx(counted["train_loss"], rel=1e-5)
    in_train = record_of("sample", "counted", "--prefix", "St. Emma", "--num", "3")
    known = run_dataset(load_run("counted")).splits.train.items()
    assert in_train["in_train"] == [line in known for line in in_train["samples"]]


def test_a_document_of_words_with_numbers_and_sentence_ends():
    text = "".join(f"Mr. Day sat in {1900 + i}. Was it w{i}? No!\n" for i in range(40))
    trained = train(
        text,
        *("--items", "document", "--unit", "word", "--lower", "--min-count", "2"),
        *("--merge-numbers", "--sentence-ends"),
    )
    scored = record_of("score", "run", "Mr. Day sat in 7.")
    shown = [symbol for symbol, _ in scored["symbols"][0]]
    assert shown == ["mr", ".", "day", "sat", "in", "<num>", ".", "</s>"]
    assert record_of("sample", "run", "--num", "3")["samples"] == trained["samples"]
    call("report", "run")
    assert not any("</s>" in sample for sample in trained["samples"])
    page = Path("run/report.html").read_text()
    assert "per word, " in page
    assert "of them are known" in page
    evaluated = record_of("eval", "run")
    for name in ("perplexity", "bits_per_character", "unknown_rate"):
        assert evaluated[name] == trained[name]
    assert trained["unknown_rate"] > 0
    counted_words = run_dataset(load_run("run")).info.totals
    assert counted_words[1].characters == load_run("run").data["split_characters"][1]
    again = record_of("train", "--resume", "--out", "run")
    for name in ("dev_loss", "perplexity", "bits_per_character", "unknown_rate", "samples"):
        assert again[name] == trained[name]


def test_any_bytes_are_lines_of_bytes():
    trained = train("\n".join(["zoë", "ava.", "a b"] * 5), "--unit", "byte")
    assert trained["vocab_size"] == 257
    check_run(trained, "zoë.", ["z", "o", "\\xc3", "\\xab", "."], "↵")
    kept = read_samples(Path("run"), load_run("run").config)
    assert kept.texts == trained["samples"]  # which may have line breaks
    scored = record_of("score", "run", "日本")  # no byte is unknown
    assert len(scored["symbols"][0]) == 6 + 1
    made = record_of("sample", "run", "--prefix", "zoë", "--num", "2")["samples"]
    assert all(line.startswith("zoë") for line in made)


def test_lines_of_words_have_their_rare_and_their_large_ones_merged():
    flags = ["--unit", "word", "--lower", "--min-count", "6"]
    trained = train("\n".join(WORDS), *flags)
    known = [",", ".", "a", "cat", "dog", "ran", "sat", "the"]
    symbols = json.loads(Path("run/config.json").read_text())["symbols"]
    assert symbols == ["↵", *known[1:], "<unk>"]  # "," and "and" occur five times
    check_run(trained, "The bird ran.", ["the", "<unk>", "ran", "."], "↵")
    made = record_of("sample", "run", "--prefix", "The cat", "--num", "3")["samples"]
    assert all(line.startswith("the cat") for line in made)
    Path("others.txt").write_text("Some other words.\n")
    assert record_of("eval", "run", "--data", "others.txt")["num_examples"] == 5


@pytest.mark.parametrize(("unit", "gap"), [("char", 0), ("word", 1), ("byte", 0)])
def test_paragraphs_are_learned_whole(unit, gap):
    trained = train("\n\n\n".join(PARAGRAPHS) + "\n", "--items", "paragraph", "--unit", unit)
    record = json.loads(Path("run/config.json").read_text())
    assert record["data"]["num_lines"] == 15
    assert record["data"]["split_lines"] == [12, 1, 2]
    found = [item for part in run_dataset(load_run("run")).splits for item in part.items()]
    assert sorted(found) == sorted(PARAGRAPHS)
    line = "the cat\nsat"
    tokens = ["the", "cat", "\n", "sat"] if gap else list(line)
    if unit == "byte":
        tokens[tokens.index("\n")] = "\\x0a"
    check_run(trained, line, tokens, record["symbols"][0])
    assert any("\n" in text for text in trained["samples"])
    rows = Path("run/samples.txt").read_bytes().decode().split("\n")[:-1]
    assert len(rows) == 20  # one a line, breaks written as \\n
    assert any("\\n" in row for row in rows)
    kept = read_samples(Path("run"), load_run("run").config)
    assert kept.texts == trained["samples"]


@pytest.mark.parametrize("unit", ["char", "word", "byte"])
def test_a_document_is_split_in_its_order_and_never_ends(unit):
    text = "".join(f"{line}\n" for line in PARAGRAPHS)
    trained = train(text, "--items", "document", "--unit", unit)
    splits = run_dataset(load_run("run")).splits
    total = sum(part.num_predictions for part in splits)
    assert splits.train.num_predictions == int(0.8 * total)
    if unit != "word":
        assert "".join(item for part in splits for item in part.items()) == text
    assert trained["num_examples"] == int(0.8 * total)
    assert trained["num_cut"] == 0  # what has no end is not cut
    assert record_of("eval", "run")["loss"] == trained["dev_loss"]
    made = record_of("sample", "run", "--num", "2", "--max-len", "40", "--temperature", "2")
    assert (made["in_train"], made["num_cut"]) == (None, 0)
    if unit == "char":
        assert list(map(len, made["samples"])) == [40, 40]
    out, err = call("train", "--resume", "--out", "run")
    assert "has come to its end" in out
    assert err == ""
    call("report", "run")
    evaluated = record_of("eval", "run", "--split-name", "all")
    assert evaluated["num_examples"] == total
    scored = record_of("score", "run", "--data", "data.txt")
    assert scored["nats"][0] / total == pytest.approx(evaluated["loss"], rel=1e-5)
    err = call("score", "run", "  " if unit == "word" else "", code=2)[1]
    assert err.endswith("line 1 is empty, and a model of a document knows no end to score\n")
