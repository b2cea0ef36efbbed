"""mm-jax score: the nats of each symbol."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cli.commands.conftest import DOCUMENT, LINES, nats_by_hand
from tests.helpers import call, record_of


def test_score_says_the_nats_of_every_symbol(run):
    lines = ["emma", "xx" if "x" in "".join(LINES) else "bb", ""]
    record = record_of("score", run, *lines)
    assert record["command"] == "score"
    assert record["lines"] == lines
    for line, total, mean, symbols in zip(
        lines, record["nats"], record["nats_per_symbol"], record["symbols"], strict=True
    ):
        assert [symbol for symbol, _ in symbols] == [*line, "."]
        expected = nats_by_hand(run, line)
        np.testing.assert_allclose([n for _, n in symbols], expected, rtol=1e-4, atol=1e-5)
        assert total == pytest.approx(expected.sum(), rel=1e-5)
        assert mean == pytest.approx(expected.mean(), rel=1e-5)
    out, err = call("score", run, "emma")
    assert out.startswith(f"emma: {record['nats'][0]:.4f} nats")
    assert err == ""


def test_the_lines_of_a_file_are_scored_as_lines_that_are_given(run):
    expected = record_of("score", run, "emma", "noora")
    Path("some.txt").write_text("emma\n\n noora \n")
    record = record_of("score", run, "--data", "some.txt")
    assert record["num_skipped"] == expected["num_skipped"] == 0
    for name in ("lines", "nats", "nats_per_symbol", "symbols"):
        assert record[name] == expected[name]
    out, err = call("score", run, "--data", "some.txt")
    assert [row.partition(":")[0] for row in out.splitlines()] == ["emma", "noora"]
    assert err == ""


def test_lines_from_stdin_are_scored(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"emma\nnoora\n")))
    record = record_of("score", run, "-")
    expected = record_of("score", run, "emma", "noora")
    assert (record["lines"], record["nats"]) == (expected["lines"], expected["nats"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    message = "mm-jax score: error: stdin has nothing in it to score\n"
    assert call("score", run, "-", code=2)[1] == message


def test_lines_of_a_file_with_unknown_symbols_are_left_out_and_counted(run, monkeypatch):
    text = "emma\nxena\nnoora\n"
    Path("some.txt").write_text(text)
    for source in (["--data", "some.txt"], ["-"]):
        for flags in ([], ["--json"]):
            pipe = SimpleNamespace(buffer=io.BytesIO(text.encode()))
            monkeypatch.setattr(sys, "stdin", pipe)
            err = call("score", run, *source, *flags)[1]
            complaint = "1 of 3 lines contains symbols that are not in the vocabulary, 'x'; "
            assert f"{complaint}the first is line 2; left out\n" in err
    record = record_of("score", run, "--data", "some.txt")
    assert (record["lines"], record["num_skipped"]) == (["emma", "noora"], 1)
    Path("some.txt").write_text("xena\n")
    err = call("score", run, "--data", "some.txt", code=2)[1]
    assert "some.txt: 1 of 1 lines contains symbols" in err


# Words


def test_words_that_a_run_does_not_know_are_read_as_one_and_named(words_run):
    line = "Mr. Day paid 7.50. He saw zyx."
    record = record_of("score", words_run, line)
    shown = [symbol for symbol, _ in record["symbols"][0]]
    expected = "mr . day paid <num> . </s> he <unk> <unk> . </s>"
    assert shown == expected.split()
    assert record["num_unknown"] == 2
    err = call("score", words_run, line)[1]
    assert err == ("2 words are not in the vocabulary and are read as <unk>: 'saw', 'zyx'\n")
    err = call("score", words_run, "zyx zyx")[1]
    assert err == "'zyx' is not in the vocabulary and is read as <unk>\n"
    assert call("score", words_run, "the car")[1] == ""
    Path("some.txt").write_text("the zyx car, the xyz\n")
    err = call("score", words_run, "--data", "some.txt")[1]
    assert err == "3 of 7 words are not in the vocabulary and are read as <unk>\n"


def test_a_word_that_is_not_known_is_refused_where_none_is_the_unknown_one():
    Path("text.txt").write_text(DOCUMENT)
    record_of("count", "--data", "text.txt", "--unit", "word", "--out", "all")
    err = call("score", "all", "Mr. Day saw zyx", code=2)[1]
    assert "line 1: word 'saw' at place 4 of 'Mr. Day saw zyx' is not in the vocabulary" in err
