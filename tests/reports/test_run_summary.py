"""The summary of a run: what it has of which run, and what it refuses."""

import json
import math
import shutil

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig, NgramConfig, RNNConfig
from mm_jax.config.training import CountConfig
from mm_jax.reports import run_summary
from mm_jax.reports.browser_model import generator_page
from mm_jax.reports.figures import make_figures
from mm_jax.reports.run_summary import diagnostics_before_and_after, summarize_run
from mm_jax.runs.reader import load_run
from tests.helpers import call, make_run, record_of
from tests.reports.conftest import CURVE, DIAGNOSTICS, LINES, NET, make
from tests.reports.plots.inputs import make_diagnostics


@pytest.fixture
def copied(run_path, tmp_path):
    """A copy of the counts, to be changed."""
    return shutil.copytree(run_path("counts"), tmp_path / "run")


def test_the_numbers_of_a_run(summary, run_path):
    found = summary("mlp")
    assert found.folder == run_path("mlp").absolute()
    assert found.losses == {"train_loss": 2.0, "dev_loss": 2.5}
    (curve,) = found.curves
    assert curve.losses.tolist() == [line["loss"] for line in CURVE]
    assert [line["step"] for line in curve.diagnostics] == [10, 20, 30]
    assert found.notes == []
    assert {array.name: array.shape for array in found.arrays} == {
        name: leaf.shape for name, leaf in found.run.params.items()
    }
    assert dict(found.baselines)["uniform"] == pytest.approx(math.log(len(found.run.vocab)))
    assert len(dict(found.baselines)) >= 3
    np.testing.assert_array_equal(found.embedding, found.run.params["C"])
    assert summary("ensemble").embedding is None
    assert summary("bigram").embedding is None
    params = summary("transformer").run.params
    np.testing.assert_array_equal(summary("transformer").embedding, params["wte"])


def test_how_often_each_symbol_occurs_in_train(summary):
    found = summary("mlp")
    train = found.dataset.splits.train
    text = "".join(train.items())
    assert found.frequency.tolist() == [
        len(train),
        *(text.count(symbol) for symbol in found.run.vocab.symbols[1:]),
    ]
    assert found._replace(dataset=None).frequency is None


def test_diagnostics_are_those_of_the_first_and_of_the_last_parameters(summary, tmp_path, data):
    run = load_run(make(tmp_path / "run", data, MLPConfig(3, 4, 8, "scaled")))
    before, after = diagnostics_before_and_after(summarize_run(run), run.config)
    assert float(after.gradient_std["W2"]) > 0
    assert not np.isfinite(before.update_to_data["b1"])  # zeros before the first step
    wild, _ = diagnostics_before_and_after(summary("mlp"), summary("mlp").run.config)
    assert float(wild.saturated["h"]) > float(before.saturated["h"])


def test_diagnostics_of_rows_are_of_about_as_many_predictions_with_little_padding(
    tmp_path, monkeypatch
):
    (tmp_path / "names.txt").write_text("\n".join([*LINES, 40 * "a"]))
    data = DataConfig(str(tmp_path / "names.txt"), split="none")
    found = summarize_run(load_run(make(tmp_path / "run", data, RNNConfig(4, 4))))
    seen, nothing = [], make_diagnostics([0.0], [0.0])
    monkeypatch.setattr(run_summary, "look_inside", lambda *args: seen.append(args[3]) or nothing)
    for most in (4096, 100):
        monkeypatch.setattr(run_summary, "NUM_EXAMPLES", most)
        diagnostics_before_and_after(found, found.run.config)
    every, some = seen[::2]
    assert every.weights.sum() == found.dataset.splits.train.num_predictions
    assert every.weights.mean() > 0.8  # a line in a row of its own would be a ninth of it
    assert 50 < some.weights.sum() <= some.tokens.size <= 100


def test_without_its_data_a_run_has_fewer_figures_and_says_why(tmp_path, data):
    moved = tmp_path / "moved.txt"
    shutil.copy(data.data, moved)
    run = load_run(make(tmp_path / "run", DataConfig(str(moved)), NET))
    moved.unlink()
    found = summarize_run(run)
    assert found.dataset is None
    assert "moved.txt" in found.notes[0]
    assert [name for name, _ in found.baselines] == ["uniform"]  # ln V needs no data
    assert [figure.name for figure in make_figures(found)] == [
        *("loss", "updates", "embedding", "neighbours", "samples")
    ]


def test_a_changed_data_file_is_not_taken_for_that_of_the_run(tmp_path, data):
    changed = tmp_path / "changed.txt"
    shutil.copy(data.data, changed)
    run = load_run(make_run(tmp_path / "run", CountConfig(DataConfig(str(changed)), NgramConfig())))
    assert summarize_run(run).samples[0].nearest is not None
    changed.write_text("other\n" * 20)
    found = summarize_run(run)
    assert found.dataset is None
    assert all(line.nearest is None for line in found.samples)  # so it is not called new


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "metrics.jsonl").write_text("{\n"), "metrics.jsonl, line 1 is damaged"),
        (lambda run: (run / "samples.txt").write_bytes(b"\xff"), "cannot read"),
        (lambda run: (run / "samples.txt").write_text("<b>\n"), "samples.txt: symbol '<'"),
    ],
    ids=["metrics", "samples", "a symbol"],
)
def test_what_cannot_be_read_is_refused(copied, damage, said):
    damage(copied)
    with pytest.raises(InputError, match=said):
        summarize_run(load_run(copied))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "figures").write_text(""), "figures is no directory of its own"),
        (lambda run: (run / "figures").symlink_to("/tmp"), "figures is no directory of its own"),
        (lambda run: (run / "metrics.jsonl").write_text("{\n"), "metrics.jsonl, line 1 is damaged"),
    ],
    ids=["a file", "a link", "metrics"],
)
def test_what_cannot_be_drawn_is_one_line(copied, damage, said):
    damage(copied)
    _, err = call("plot", str(copied), code=2)
    assert said in err
    assert err.count("\n") == 1


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("split_lines", None, "has no path, sha256 or split_lines"),
        ("split_lines", [1, 2], "split_lines of its data are not three"),
        ("split_lines", [1, 2, "<b>"], "one of split_lines of its data is not a count"),
        ("num_lines", [], "num_lines of its data is not a count"),
        ("dev_lines_in_train", "much", "dev_lines_in_train of its data is not a number"),
        ("path", 3, "is no text"),
        ("path", "a\0b", "cannot be the name of a file"),
    ],
)
def test_a_run_that_does_not_say_what_it_was_made_from_is_not_reported(copied, name, value, said):
    def change(record):
        record["data"][name] = value
        if value is None:
            del record["data"][name]

    edit(copied / "config.json", change)
    run = load_run(copied)  # its model is as good as ever
    for report in (summarize_run, generator_page):
        with pytest.raises(InputError, match=said):
            report(run)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", 5000 * "long/", 300 * "x"])
def test_a_data_path_that_no_file_can_have_is_refused_or_noted(copied, name):
    edit(copied / "config.json", lambda record: record["config"]["data"].update(data=name))
    if len(name) > 100:
        assert len(summarize_run(load_run(copied)).notes) == 1
    else:
        with pytest.raises(InputError, match="cannot be the name of a file"):
            summarize_run(load_run(copied))


def test_lines_end_at_line_ends_alone(tmp_path):
    odd = [f"a\u2028b{i}" for i in range(9)] + [f"c\x85d\x1ce{i}" for i in range(9)]
    (tmp_path / "odd.txt").write_text("\n".join(odd))
    config = CountConfig(DataConfig(str(tmp_path / "odd.txt")), NgramConfig())
    run = make_run(tmp_path / "run", config, samples=odd[7:11])
    assert [line.text for line in summarize_run(load_run(run)).samples] == odd[7:11]


def test_diagnostics_of_arrays_that_the_model_has_not_are_left_out(run_path, tmp_path):
    path = shutil.copytree(run_path("mlp"), tmp_path / "run")
    odd = [{**DIAGNOSTICS[0], "update_to_data": {"_evil": 1.0}}] * 3
    nothing = {**DIAGNOSTICS[0], "update_to_data": dict.fromkeys(NET_ARRAYS, "inf")}
    lines = [*CURVE, *odd, nothing]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [curve.diagnostics for curve in summarize_run(load_run(path)).curves] == [[]]


NET_ARRAYS = ("C", "W1", "b1", "W2", "b2")


@pytest.mark.slow
def test_a_run_that_is_not_at_its_end_is_drawn_as_far_as_it_is(tmp_path, data):
    flags = ["--data", data.data, "--steps", "400", "--batch-size", "8", "--embed-dim", "4"]
    flags += ["--hidden-dim", "8", "--checkpoint-every", "150"]
    record_of("train", *flags, "--inside", "--out", str(tmp_path / "run"))
    record_of("train", *flags, "--out", str(tmp_path / "blind"))
    both = [(tmp_path / run / "params.safetensors").read_bytes() for run in ("run", "blind")]
    assert both[0] == both[1]  # diagnostics change no bit
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if "update_to_data" in line]
    assert [line["step"] for line in found] == list(range(4, 401, 4))
    assert all(set(line["update_to_data"]) == set(NET_ARRAYS) for line in found)
    for name in ("params.safetensors", "samples.txt"):
        (tmp_path / "run" / name).unlink()
    _, err = call("plot", str(tmp_path / "run"))
    assert "after step 400" in err
    assert (tmp_path / "run/figures/updates.png").exists()
    assert (tmp_path / "run/figures/samples.png").exists()
    call("report", str(tmp_path / "run"))
    assert "after step 400" in (tmp_path / "run/report.html").read_text()
    checkpoint = next((tmp_path / "run/checkpoints").glob("step-*"))
    for command in ("plot", "report"):  # whose figures would go where?
        _, err = call(command, str(checkpoint), code=2)
        assert "is a checkpoint; give the run directory" in err
