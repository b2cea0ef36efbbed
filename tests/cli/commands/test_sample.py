"""mm-jax sample: which lines it prints, and how they are printed."""

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.cli.main import main
from tests.cli.commands.conftest import LINES, SMALL
from tests.helpers import call, mlp64, record_of, strict_json


def test_sample_makes_the_lines_of_the_run(trained, run, splits):
    record = record_of("sample", run)
    assert record["samples"] == trained["samples"]
    known = [line in splits["train"] for line in trained["samples"]]
    assert record["in_train"] == known
    assert record["num_cut"] == sum(len(line) == 64 for line in trained["samples"])
    plain = call("sample", run)[0].splitlines()
    lines = [row.partition("\t") for row in plain]
    assert [line for line, _, _ in lines] == trained["samples"]
    assert [mark == "(in train)" for _, _, mark in lines] == known
    assert record_of("sample", run, "--seed", "1")["samples"] != trained["samples"]


def test_sample_with_a_prefix_and_a_limit(run):
    record = record_of("sample", run, "--prefix", "no", "--max-len", "4")
    assert all(line.startswith("no") and len(line) <= 4 for line in record["samples"])
    assert record["num_cut"] <= sum(len(line) == 4 for line in record["samples"])
    assert record["num_cut"] > 0


def test_lines_that_were_cut_are_marked_and_counted(run):
    record = record_of("sample", run, "--max-len", "3")
    assert record["cut"] == [len(line) == 3 for line in record["samples"]]
    assert 0 < record["num_cut"] == sum(record["cut"])
    out, err = call("sample", run, "--max-len", "3")
    rows = [row.split("\t") for row in out.splitlines()]
    assert [("(cut)" in marks) for _, *marks in rows] == record["cut"]
    note = f"{record['num_cut']} of 20 lines were cut at 3 symbols; for longer ones: --max-len 12\n"
    assert err == note
    assert call("sample", run, "--max-len", "3", "--json")[1] == note
    whole = record_of("sample", run, "--max-len", "500")
    assert (whole["num_cut"], any(whole["cut"])) == (0, False)


def test_how_long_lines_may_be_follows_the_longest_training_line(folder, tmp_path):
    """Twice the longest, from 64 to 2,000; and 64 where an older run does not say."""
    shutil.copytree(folder / "run", "copy")
    path = Path("copy/config.json")
    record = json.loads(path.read_text())
    params = load_file("copy/params.safetensors")
    params["b2"][0] = -1e4  # no line ends
    save_file(params, "copy/params.safetensors")
    assert record["data"]["longest"] == max(map(len, LINES)) == 5
    for longest, expected in ((5, 64), (40, 80), (5000, 2000), (None, 64), ("many", 64)):
        record["data"]["longest"] = longest
        path.write_text(json.dumps(record))
        found = record_of("sample", "copy", "--num", "2")
        assert list(map(len, found["samples"])) == [expected] * 2
        assert found["num_cut"] == 2


def test_sample_at_temperature_zero_takes_the_likeliest(run):
    greedy = record_of("sample", run, "--temperature", "0")["samples"]
    assert greedy == record_of("sample", run, "--top-k", "1")["samples"]
    assert len(set(greedy)) == 1
    symbols = json.loads((Path(run) / "config.json").read_text())["symbols"]
    params = load_file(Path(run) / "params.safetensors")
    window, line = [0, 0, 0], ""
    while len(line) < 64:  # the same by hand
        _, logits = mlp64(params, [window])
        window = [*window[1:], int(logits[0].argmax())]
        if window[-1] == 0:
            break
        line += symbols[window[-1]]
    assert greedy[0] == line


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A run on other alphabets and on what steers terminals, in a file with such a name."""
    path = tmp_path_factory.mktemp("strange")
    data = path / "имена ü \x1b[31m.txt"
    data.write_text("\n".join(["жанна", "日本", "\x1b[2J", "a\x07b", "c\u202ed"] * 4), "utf-8")
    out, _ = call("train", "--data", str(data), "--steps", "0", *SMALL, "--out", str(path / "ü"))
    return path / "ü", out


def test_what_is_printed_cannot_steer_a_terminal(strange):
    run, out = str(strange[0]), strange[1]
    samples = record_of("sample", run)["samples"]
    assert {"\x1b", "\x07", "\u202e"} <= set("".join(samples))
    for said in (out, call("sample", run)[0], call("score", run, "\x1b[2J", "a\x07b")[0]):
        assert "\\x1b" in said
        assert "\\x07" in said
        assert set(said) & set("\x1b\x07\u202e\r") == set()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_alphabet_works_on_any_terminal(strange, monkeypatch, encoding):
    binary = io.BytesIO()
    stream = io.TextIOWrapper(binary, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["score", str(strange[0]), "жанна"]) == 0
    assert main(["sample", str(strange[0])]) == 0
    assert main(["sample", str(strange[0]), "--json"]) == 0
    stream.flush()
    rows = binary.getvalue().decode(encoding).splitlines()
    assert rows[0].startswith("жанна: " if encoding == "utf-8" else "\\u0436\\u0430\\u043d")
    samples = strict_json(rows[-1])["samples"]
    assert samples == (strange[0] / "samples.txt").read_text("utf-8").split("\n")[:-1]


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["plain", "json"])
def test_a_reader_that_leaves_early_is_no_error(run, monkeypatch, capsys, flags):
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["sample", run, *flags]) == 0
    assert capsys.readouterr().err.count("Error") == 0


def test_a_prefix_of_words_says_which_are_unknown(words_run):
    sample = ["sample", words_run, "--num", "2", "--max-len", "12"]
    record = record_of(*sample, "--prefix", "Did zyx 7?")
    assert all(text.startswith("did <unk> <num>?") for text in record["samples"])
    assert not any("</s>" in text for text in record["samples"])
    err = call(*sample, "--prefix", "Did zyx 7?")[1]
    assert err == "'zyx' is not in the vocabulary and is read as <unk>\n"
    assert call(*sample, "--prefix", "Did he")[1] == ""
