"""mm-jax eval: its losses agree with training's, with score's and with a calculation by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands.conftest import LINES, SMALL, loss_by_hand
from tests.helpers import call, record_of


def test_eval_agrees_with_train(trained, run, splits):
    dev = record_of("eval", run)
    assert dev["loss"] == trained["dev_loss"]
    assert dev["split_name"] == "dev"
    assert dev["num_lines"] == len(splits["dev"])
    assert dev["num_examples"] == sum(len(line) + 1 for line in splits["dev"])
    assert dev["bits"] == pytest.approx(dev["loss"] / np.log(2))
    assert dev["perplexity"] == pytest.approx(np.exp(dev["loss"]))
    for key in ("command", "config", "vocab_size", "num_params", "run_dir", "seconds"):
        assert key in dev
    assert record_of("eval", run, "--split-name", "train")["loss"] == trained["train_loss"]
    out, err = call("eval", run)
    assert f"dev loss {trained['dev_loss']:.4f} nats" in out
    assert err == ""


def test_eval_of_a_file_is_its_mean_score(run):
    lines = ["emma", "noora", "linelia"]
    Path("some.txt").write_text("\n\n".join(lines))
    scores = record_of("score", run, *lines)
    loss = record_of("eval", run, "--data", "some.txt")
    assert loss["split_name"] == "all"
    assert loss["num_examples"] == sum(len(line) + 1 for line in lines)
    assert loss["loss"] == pytest.approx(sum(scores["nats"]) / loss["num_examples"], rel=1e-5)
    assert loss["loss"] == pytest.approx(loss_by_hand(run, lines), rel=1e-5)


def test_lines_with_unknown_symbols_are_refused_or_left_out_and_counted(run):
    assert "x" not in "".join(LINES)
    lines = ["emma", "", "xena", "noora", "maxx"]
    Path("some.txt").write_text("\n".join(lines))
    out, err = call("eval", run, "--data", "some.txt", code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert (
        "some.txt: 2 of 4 lines contain symbols that are not in the vocabulary, 'x'; "
        "the first is line 3; --skip-unknown leaves them out"
    ) in err
    record = record_of("eval", run, "--data", "some.txt", "--skip-unknown")
    assert (record["num_lines"], record["num_skipped"]) == (2, 2)
    assert record["num_examples"] == 5 + 6
    assert record["loss"] == pytest.approx(loss_by_hand(run, ["emma", "noora"]), rel=1e-5)
    out, err = call("eval", run, "--data", "some.txt", "--skip-unknown")
    assert "over 11 predictions in 2 lines" in out
    assert err == "2 of 4 lines left out: their symbols are not in the vocabulary\n"
    assert "num_skipped" not in record_of("eval", run)
    own = record_of("eval", run, "--skip-unknown")
    assert (own["num_skipped"], own["loss"]) == (0, record_of("eval", run)["loss"])
    Path("some.txt").write_text("xx\nxena\n")
    err = call("eval", run, "--data", "some.txt", "--skip-unknown", code=2)[1]
    assert "some.txt: 2 of 2 lines contain symbols" in err
    assert "--skip-unknown" not in err  # which was asked for


def test_looks_at_the_test_split_are_counted(run, folder, splits):
    looks = Path(run) / "test_looks.jsonl"
    assert not looks.exists()
    for count in (1, 2):
        record = record_of("eval", run, "--split-name", "test")
        assert record["test_looks"] == count
        assert record["loss"] == pytest.approx(loss_by_hand(run, splits["test"]), rel=1e-5)
    record_of("eval", run)
    record_of("eval", run, "--split-name", "train")
    assert len(looks.read_text().splitlines()) == 2
    same = ["--data", str(folder / "names.txt"), "--split-name", "test"]
    assert record_of("eval", run, *same)["test_looks"] == 3  # by another name it counts too
    assert "evaluation 4 of the test split" in call("eval", run, "--split-name", "test")[0]


def test_a_run_outlives_its_data(folder, tmp_path):
    shutil.copy(folder / "names.txt", "names.txt")
    call("train", "--data", "names.txt", "--steps", "0", *SMALL, "--out", "run")
    before = record_of("sample", "run")
    assert before["in_train"] is not None
    damages = (
        (lambda: Path("names.txt").write_text("\n".join([*LINES, "zoe"])), "has changed"),
        (lambda: Path("names.txt").unlink(), "No such file"),
    )
    for damage, complaint in damages:
        damage()
        assert complaint in call("eval", "run", code=2)[1]
        after = record_of("sample", "run")
        assert after["samples"] == before["samples"]
        assert after["in_train"] is None
        call("score", "run", "emma")
    shutil.move("run", "moved")
    assert record_of("sample", "moved")["samples"] == before["samples"]


def test_words_are_evaluated_per_word_and_per_character(words_run, words_counted):
    record = record_of("eval", words_run)
    assert record["unknown_rate"] == words_counted["unknown_rate"]
    ratio = record["bits_per_character"] / words_counted["bits_per_character"]
    assert ratio == pytest.approx(record["loss"] / words_counted["loss"])
    out, _ = call("eval", words_run)
    units = f"perplexity {record['perplexity']:.4f} per word, "
    units += f"{record['bits_per_character']:.4f} bits per character, "
    assert f"({units}{record['unknown_rate']:.1%} of the words unknown) over" in out
    Path("other.txt").write_text("Mr. Day did see zyx.\n")
    other = record_of("eval", words_run, "--data", "other.txt")
    assert other["unknown_rate"] == 1 / 9  # the line break is a word, and the end of the sentence
    bits = other["loss"] * 9 / np.log(2)
    assert other["bits_per_character"] == pytest.approx(bits / len("Mr. Day did see zyx.\n"))
