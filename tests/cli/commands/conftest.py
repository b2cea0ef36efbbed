"""One small run that the tests of several commands read, and its numbers by hand."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.helpers import mlp64, nats64, record_of

STEPS = 300
SMALL = ["--embed-dim", "4", "--hidden-dim", "16", "--init", "scaled", "--learning-rate", "0.5"]
USUAL = ["--steps", str(STEPS), *SMALL]  # one model and one size of data compile once
STARTS = ("em", "av", "li", "no", "ka", "so", "ir", "be")
ENDS = ("ma", "a", "el", "ora", "nie", "lia", "bel", "rin", "tta", "na")
DOCUMENT = "".join(
    f"Mr. Day paid ${i},000.50 for the {('red', 'old', 'new')[i % 3]} car. Did he see w{i}? No!\n"
    for i in range(60)
)
OF_WORDS = ["--items", "document", "--unit", "word", "--lower", "--min-count", "2"]
OF_WORDS += ["--merge-numbers", "--sentence-ends"]
KNESER_NEY = ["--order", "2", "--smoothing", "kneser-ney"]
LINES = [start + end for start in STARTS for end in ENDS]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with data and a trained run, made from within it by a relative path."""
    path = tmp_path_factory.mktemp("commands")
    (path / "names.txt").write_text("\n".join(LINES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        record = record_of("train", "--data", "names.txt", *USUAL, "--out", "run")
        (path / "record.json").write_text(json.dumps(record))
    return path


@pytest.fixture(scope="session")
def words_folder(tmp_path_factory):
    """A folder with a document and a counted run of its words, and what count said."""
    path = tmp_path_factory.mktemp("words")
    (path / "text.txt").write_text(DOCUMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        record = record_of("count", "--data", "text.txt", *OF_WORDS, *KNESER_NEY, "--out", "run")
        (path / "record.json").write_text(json.dumps(record))
    return path


@pytest.fixture
def words_run(words_folder):
    return str(words_folder / "run")


@pytest.fixture
def words_counted(words_folder):
    """What count said with --json."""
    return json.loads((words_folder / "record.json").read_text())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No command depends on the folder that it is started from."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(folder):
    return str(folder / "run")


@pytest.fixture
def trained(folder):
    """What train said with --json."""
    return json.loads((folder / "record.json").read_text())


@pytest.fixture
def splits():
    """The lecture's split, by its own words."""
    lines = list(LINES)
    random.Random(42).shuffle(lines)
    return {"train": lines[:64], "dev": lines[64:72], "test": lines[72:]}


def nats_by_hand(run, line, context=3):
    """The nats of each symbol of a line, in float64, from the files of the run alone."""
    params = load_file(Path(run) / "params.safetensors")
    symbols = json.loads((Path(run) / "config.json").read_text())["symbols"]
    ids = [0] * context + [symbols.index(symbol) for symbol in line] + [0]
    windows = np.lib.stride_tricks.sliding_window_view(np.array(ids), context)[:-1]
    _, logits = mlp64(params, windows)
    return nats64(logits, ids[context:])


def loss_by_hand(run, lines):
    return float(np.concatenate([nats_by_hand(run, line) for line in lines]).mean())
