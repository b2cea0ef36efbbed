"""mm-jax mix: what it says and writes, that the run is used as any other, and what is refused."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mm_jax.runs.layout import FORMAT
from tests.cli.commands.conftest import LINES, nats_by_hand
from tests.data.by_hand import count_by_hand
from tests.helpers import call, record_of

KINDS = ("log-linear", "linear", "frequency")
SYMBOLS = sorted({*".".join(LINES)})
both_kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def members(folder, tmp_path_factory):
    """The directories of a trained net and of counted bigrams, of the same data."""
    counts = tmp_path_factory.mktemp("counted") / "counts"
    call("count", "--data", str(folder / "names.txt"), "--smoothing", "0.5", "--out", str(counts))
    return str(folder / "run"), str(counts)


@pytest.fixture(scope="module")
def records(members, tmp_path_factory):
    """What mix said of each kind with --json."""
    folder = tmp_path_factory.mktemp("mixed")
    return {
        kind: record_of("mix", *members, "--kind", kind, "--out", str(folder / kind))
        for kind in KINDS
    }


@pytest.fixture
def mixed(records):
    """The directory of the log-linear mixture."""
    return records["log-linear"]["run_dir"]


@pytest.fixture
def counted(folder):
    """Return counted(name, *flags): the directory of other counts of the data."""

    def counted(name, *flags):
        call("count", "--data", str(folder / "names.txt"), *flags, "--out", name)
        return name

    return counted


def score_by_hand(run, splits, weights, line):
    """The nats of a line by the linear mixture of the net and the bigrams, in float64."""
    counts, nats = count_by_hand(splits["train"], 2), nats_by_hand(run, line)
    pairs = zip("." + line, line + ".", strict=True)
    by_counts = [
        (counts[a + b] + 0.5) / sum(counts[a + each] + 0.5 for each in SYMBOLS) for a, b in pairs
    ]
    return -np.log(weights[0] * np.exp(-nats) + weights[1] * np.array(by_counts)).sum()


# What it says and writes


@both_kinds
def test_the_record_says_what_was_mixed_and_how_well_it_does(records, members, splits, kind):
    record = records[kind]
    assert record["command"] == "mix"
    config = record["config"]
    assert config["model"] == {"name": "mixture", "kind": kind, "good_turing": False}
    assert config["paths"] == list(members)
    assert [run["model"]["name"] for run in config["runs"]] == ["mlp", "ngram"]
    assert (config["held_out"], config["fixed_weights"]) == (None, None)
    assert record["vocab_size"] == len(SYMBOLS)
    if kind != "frequency":  # which has a table of contexts
        assert record["num_params"] == 2 + sum(
            record_of("eval", member)["num_params"] for member in members
        )
    assert len(record["weights"]) == 2
    assert min(record["weights"]) >= 0
    assert record["num_fitted_on"] == sum(len(line) + 1 for line in splits["dev"])
    assert record["fitted_loss"] == pytest.approx(record["dev_loss"], rel=1e-5)
    assert record["fitted_loss"] <= record["halved_loss"] < record["fitted_loss"] + 0.3
    assert len(record["samples"]) == 20
    assert record["seconds"] > 0


@both_kinds
def test_on_what_it_was_fitted_on_it_is_no_worse_than_its_members(records, members, kind):
    losses = [record_of("eval", member)["loss"] for member in members]
    assert records[kind]["dev_loss"] <= min(losses) + 1e-4


def test_linear_weights_sum_to_1(records):
    assert sum(records["linear"]["weights"]) == pytest.approx(1, abs=1e-6)


def test_by_frequency_each_bin_has_its_weights(records, splits):
    record = records["frequency"]
    by_bin = np.array(record["weights_by_bin"])
    total = sum(len(line) + 1 for line in splits["train"])
    assert by_bin.shape == (1 + math.ceil(math.log(total)), 2)
    np.testing.assert_allclose(by_bin.sum(1), 1, rtol=1e-6)
    assert sum(record["weights"]) == pytest.approx(1, abs=1e-6)
    assert (by_bin.min(0) - 1e-6 <= record["weights"]).all()
    assert (record["weights"] <= by_bin.max(0) + 1e-6).all()
    assert len({*by_bin[:, 1]}) > 1
    assert "weights_by_bin" not in records["linear"]


def test_by_frequency_it_says_that_weights_are_means(members):
    out, _ = call("mix", *members, "--kind", "frequency", "--out", "mixed")
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("weight "))
    assert lines[first + 2].strip() == "(means; each prediction has those of its context)"
    assert lines[first + 3].startswith("fitted     frequency, on ")
    call("report", "mixed")
    page = Path("mixed/report.html").read_text("utf-8")
    for text in ("by the frequency of the context", members[1], "frequency.symbols"):
        assert text in page
    out, _ = call("mix", members[1], "--kind", "frequency", "--good-turing", "--out", "heeding")
    assert "expected to be in train (Good-Turing)" in out
    assert record_of("eval", "heeding")["loss"] > 0


def test_it_says_the_weight_of_each_run(members):
    out, err = call("mix", *members)
    assert err == ""
    lines = [line.split() for line in out.splitlines() if line.startswith("weight ")]
    assert [words[2] for words in lines] == list(members)
    config = json.loads(Path("runs/mixture-1/config.json").read_text())
    assert config["format"] == FORMAT
    record = record_of("mix", *members)
    assert record["run_dir"] == "runs/mixture-2"
    assert [float(words[1]) for words in lines] == pytest.approx(record["weights"], abs=1e-4)
    assert f"loss {record['fitted_loss']:.4f}; with weights of its other half" in out


def test_weights_of_ones_own_are_not_fitted(members, run, splits):
    record = record_of("mix", *members, "--kind", "linear", "--fixed-weights", "0.25,0.75")
    assert record["weights"] == record["config"]["fixed_weights"] == [0.25, 0.75]
    assert "fitted_loss" not in record
    expected = score_by_hand(run, splits, (0.25, 0.75), "emma")
    assert record_of("score", record["run_dir"], "emma")["nats"] == pytest.approx([expected])


# The run is used as any other


@both_kinds
def test_the_run_evaluates_and_samples_as_it_was_mixed(records, kind):
    record, run = records[kind], records[kind]["run_dir"]
    for split in ("dev", "train"):
        loss = record_of("eval", run, "--split-name", split)["loss"]
        assert loss == pytest.approx(record[f"{split}_loss"], rel=1e-6)
    assert record_of("eval", run)["config"] == record["config"]
    assert record_of("sample", run)["samples"] == record["samples"]
    assert Path(run, "samples.txt").read_text().splitlines() == record["samples"]
    metrics = json.loads(Path(run, "metrics.jsonl").read_text())
    assert metrics == {key: record[key] for key in ("train_loss", "dev_loss")}


def test_a_score_is_that_of_the_formula(records, run, splits):
    record, lines = records["linear"], ["emma", "noora", "linelia"]
    found = record_of("score", record["run_dir"], *lines)["nats"]
    expected = [score_by_hand(run, splits, record["weights"], line) for line in lines]
    assert found == pytest.approx(expected, rel=1e-5)


def test_its_files_are_verified(mixed):
    shutil.copytree(mixed, "copy")
    out, err = call("verify", "copy")
    assert out.splitlines()[0] == "files      copy: 4 of 4 are what was written"
    assert "steps" not in out
    assert err == ""
    Path("copy/samples.txt").write_text("other\n")
    assert "samples.txt is not what was written" in call("verify", "copy", code=1)[1]


def test_a_page_names_the_weights_the_members_and_the_runs(mixed, members):
    shutil.copytree(mixed, "copy")
    call("report", "copy")
    page = Path("copy/report.html").read_text("utf-8")
    for name in ("weights", "members.0.W1", "members.1.counts"):
        assert f'<th scope="row">{name}</th>' in page
    for path in members:
        assert path in page


def test_a_mixture_is_mixed_again(mixed, members):
    record = record_of("mix", mixed, members[1], "--fixed-weights", "1,0")
    before = record_of("eval", mixed)["loss"]
    assert record["dev_loss"] == pytest.approx(before, rel=1e-6)
    inner = record["config"]["runs"][0]
    assert [run["model"]["name"] for run in inner["runs"]] == ["mlp", "ngram"]


# Held out


def test_the_weights_are_fitted_on_a_file(members):
    Path("held_out.txt").write_text("\n".join(["noora", "emma", "liora", "avel"]))
    record = record_of("mix", *members, "--held-out", "held_out.txt")
    assert record["config"]["held_out"] == str(Path("held_out.txt").absolute())
    assert record["num_fitted_on"] == 6 + 5 + 6 + 5
    found = record_of("eval", record["run_dir"], "--data", "held_out.txt")["loss"]
    assert record["fitted_loss"] == pytest.approx(found, rel=1e-5)
    alone = [record_of("eval", run, "--data", "held_out.txt")["loss"] for run in members]
    assert found <= min(alone) + 1e-4


def test_runs_without_dev_need_a_file(counted):
    runs = [counted(f"of order {order}", "--split", "none", "--order", order) for order in "23"]
    _, err = call("mix", *runs, code=2)
    assert err.count("\n") == 1
    assert "of order 2 holds no lines out (--split none) to fit weights on; give --held-out" in err
    Path("held_out.txt").write_text("noora\nemma")
    record = record_of("mix", *runs, "--held-out", "held_out.txt")
    assert record["dev_loss"] is None
    assert record["num_fitted_on"] == 11


def test_with_good_turing_one_run_is_enough(members, splits):
    """Items of train are there once, but for those that its lines repeat."""
    counts = record_of("eval", members[1])
    out, err = call("mix", members[1], "--good-turing", "--out", "heeding")
    assert "of new items are expected to be in train (Good-Turing); without" in out + err
    found = record_of("eval", "heeding", "--split-name", "train")
    assert found["loss"] > record_of("eval", members[1], "--split-name", "train")["loss"]
    record = record_of("mix", members[1], "--good-turing", "--fixed-weights", "1", "--out", "b")
    repeats = [splits["train"].count(line) for line in {*splits["train"]}]
    assert len(record["expected_shares"]) == len(record["given_shares"]) == 1 + max(repeats)
    assert sum(record["expected_shares"]) == pytest.approx(1)
    unseen = (repeats.count(1) + 0.5) / (len(splits["train"]) + 0.5 * (1 + len({*repeats})))
    assert record["expected_shares"][0] == pytest.approx(unseen)
    assert record["dev_loss"] == record_of("eval", "b")["loss"] != counts["loss"]
    call("report", "b")
    page = Path("b/report.html").read_text("utf-8")
    for text in ("Weight of a run", members[1], "model.members.0.counts", "tree.log_means"):
        assert text in page


# What is refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", ["two runs or more, not 1; --good-turing takes one, too"]),
        ("missing", ["missing does not exist"]),
        ("{counts} --kind geometric", ["--kind", "geometric"]),
        ("{counts} --held-out missing.txt", ["missing.txt", "No such file"]),
        ("{counts} --held-out {data}", ["--held-out", "is what the runs were trained on"]),
        ("{counts} --fixed-weights 1", ["1 weights are given for 2 runs"]),
        ("{counts} --fixed-weights 1,some", ["--fixed-weights '1,some' are not numbers"]),
        ("{counts} --fixed-weights 0,0", ["0 or more, and not all 0"]),
        ("{counts} --fixed-weights nan,1", ["0 or more, and not all 0"]),
        ("{counts} --kind linear --fixed-weights 1,1", ["must sum to 1, not to 2"]),
        ("{counts} --fixed-weights 1,1 --held-out {data}", ["not both"]),
        (
            "{counts} --kind frequency --fixed-weights 0.5,0.5",
            ["--fixed-weights are the same for all contexts", "give --kind linear"],
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_line(tmp_path, members, folder, flags, words):
    given = flags.format(counts=members[1], data=folder / "names.txt").split()
    _, err = call("mix", members[0], *given, "--out", "mixed", code=2)
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


def test_runs_of_other_splits_are_refused_with_what_differs(members, counted):
    other = counted("other", "--split", "unique", "--split-seed", "7")
    _, err = call("mix", members[0], other, code=2)
    assert err.endswith(
        f"{other} cannot be mixed with {members[0]}: --split unique, not lecture; "
        "--split-seed 7, not 42\n"
    )
    assert err.count("\n") == 1


def test_a_held_out_file_with_unknown_symbols_is_refused(members):
    Path("held_out.txt").write_text("emma\nxena")
    _, err = call("mix", *members, "--held-out", "held_out.txt", code=2)
    assert "held_out.txt" in err
    assert "'x'" in err
    assert err.count("\n") == 1


def test_counts_that_rule_out_what_occurs_are_mixed_linear_only(members, counted):
    other = counted("other", "--order", "3", "--smoothing", "0")
    _, err = call("mix", members[0], other, code=2)
    assert "model 2 gives" in err
    assert "leave it out, or mix linear" in err
    assert err.count("\n") == 1
    record = record_of("mix", members[0], other, "--kind", "linear")
    assert record["dev_loss"] <= record_of("eval", members[0])["loss"] + 1e-4


def test_a_directory_that_is_not_empty_is_not_written_to(members):
    Path("full").mkdir()
    Path("full/precious.txt").write_text("keep me")
    _, err = call("mix", *members, "--out", "full", code=2)
    assert "--out full exists and is not empty" in err
    assert err.count("\n") == 1
    assert [path.name for path in Path("full").iterdir()] == ["precious.txt"]


def test_a_mixture_has_no_training_to_resume(mixed):
    shutil.copytree(mixed, "copy")
    before = {path.name: path.read_bytes() for path in Path("copy").iterdir()}
    _, err = call("train", "--resume", "--out", "copy", code=2)
    assert "copy was mixed, not trained: there is nothing to resume" in err
    assert err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path("copy").iterdir()} == before
