"""mm-jax plot: which pictures there are of which run, and that they show its numbers."""

import json
import shutil

import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig, KneserNeyConfig, MLPConfig, NgramConfig
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.data.splits import split_lines
from mm_jax.data.text import num_predictions
from mm_jax.reports.figures import make_figures, pair_counts
from mm_jax.reports.run_summary import diagnostics_before_and_after, summarize_run
from mm_jax.runs.reader import load_run
from tests.helpers import call, make_run, record_of

STARTS = ("em", "av", "li", "no", "ka", "so", "ir", "be")
LINES = [a + b for a in STARTS for b in ("ma", "a", "el", "ora", "nie", "lia", "bel", "na")]
CURVE = [{"step": 10 * i, "loss": 3 - i / 10, "learning_rate": 0.1} for i in range(1, 9)]
LOOKS = [
    {
        "step": 10 * i,
        "saturated": {"h": 0.1},
        "update_to_data": {"C": 1e-3, "W1": 1e-3, "b1": "nan", "W2": 1e-4, "b2": 1e-3},
    }
    for i in range(1, 4)
]
END = [{"step": 80, "train_loss": 2.0, "dev_loss": 2.5}]
NET = MLPConfig(3, 4, 8)
SMALL = {"batch_size": 8, "steps": 80}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(LINES))
    return DataConfig(str(path))


def run_of(path, data, model, **choices):
    if isinstance(model, NgramConfig | KneserNeyConfig):
        return load_run(make_run(path, CountConfig(data, model)))
    config = RunConfig(data=data, model=model, **SMALL, **choices)
    looks = LOOKS if isinstance(model, MLPConfig) else []
    return load_run(make_run(path, config, metrics=[*CURVE, *looks, *END]))


@pytest.mark.parametrize(
    ("model", "choices", "names"),
    [
        (NET, {}, "loss updates embedding neighbours activations gradients samples"),
        (NET, {"seeds": 2}, "loss updates samples"),
        (BigramConfig(), {}, "loss bigrams probabilities difference gradients samples"),
        (NgramConfig(3), {}, "bigrams samples"),
        (NgramConfig(1), {}, "bigrams samples"),
        (KneserNeyConfig(3), {}, "bigrams samples"),
    ],
)
def test_each_model_has_its_pictures(tmp_path, data, model, choices, names):
    shown = list(make_figures(summarize_run(run_of(tmp_path / "run", data, model, **choices))))
    assert [picture.name for picture in shown] == names.split()
    for picture in shown:
        assert picture.title
        assert picture.description.endswith(".")


def test_counts_are_those_of_the_training_lines_whatever_the_order(tmp_path, data):
    tables = [
        pair_counts(summarize_run(run_of(tmp_path / str(i), data, model)))
        for i, model in enumerate((NgramConfig(2), NgramConfig(4), BigramConfig()))
    ]
    for table in tables[1:]:
        np.testing.assert_array_equal(table, tables[0])
    assert tables[0].sum() == num_predictions(split_lines(LINES).train)


def test_the_inside_is_that_of_the_first_and_of_the_last_parameters(tmp_path, data):
    run = run_of(tmp_path / "run", data, MLPConfig(3, 4, 8, "scaled"))
    before, after = diagnostics_before_and_after(summarize_run(run), run.config)
    assert float(after.gradient_std["W2"]) > 0
    assert not np.isfinite(before.update_to_data["b1"])  # zeros before the first step
    lecture = run_of(tmp_path / "lecture", data, NET)
    wild, _ = diagnostics_before_and_after(summarize_run(lecture), lecture.config)
    assert float(wild.saturated["h"]) > float(before.saturated["h"])


def test_without_its_data_a_run_has_fewer_pictures_and_says_why(tmp_path, data):
    moved = tmp_path / "moved.txt"
    shutil.copy(data.data, moved)
    run = run_of(tmp_path / "run", DataConfig(str(moved)), NET)
    moved.unlink()
    out, err = call("plot", str(run.path))
    assert "moved.txt" in err
    assert "some figures are left out" in err
    assert {row.split()[0] for row in out.splitlines()[:-1]} == {
        *("loss", "updates", "embedding", "neighbours", "samples")
    }
    assert "uniform" in out.splitlines()[0]  # ln V needs no data


@pytest.mark.slow
def test_a_run_that_is_not_at_its_end_is_drawn_as_far_as_it_is(tmp_path, data):
    flags = ["--data", data.data, "--steps", "400", "--batch-size", "8", "--embed-dim", "4"]
    flags += ["--hidden-dim", "8", "--checkpoint-every", "150"]
    record_of("train", *flags, "--inside", "--out", str(tmp_path / "run"))
    record_of("train", *flags, "--out", str(tmp_path / "blind"))
    both = [(tmp_path / run / "params.safetensors").read_bytes() for run in ("run", "blind")]
    assert both[0] == both[1]  # looking changes no bit
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    looks = [line for line in lines if "update_to_data" in line]
    assert [look["step"] for look in looks] == list(range(4, 401, 4))
    assert all(set(look["update_to_data"]) == {"C", "W1", "b1", "W2", "b2"} for look in looks)
    for name in ("params.safetensors", "samples.txt"):
        (tmp_path / "run" / name).unlink()
    _, err = call("plot", str(tmp_path / "run"))
    assert "has not come to its end: this is what there is after step 400" in err
    assert (tmp_path / "run/figures/updates.png").exists()
    assert (tmp_path / "run/figures/samples.png").exists()
    call("report", str(tmp_path / "run"))
    assert "after step 400" in (tmp_path / "run/report.html").read_text()
    checkpoint = next((tmp_path / "run/checkpoints").glob("step-*"))
    for command in ("plot", "report"):  # whose figures would go where?
        _, err = call(command, str(checkpoint), code=2)
        assert "is a checkpoint; give the run directory" in err


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "metrics.jsonl").write_text("{\n"), "metrics.jsonl, line 1 is damaged"),
        (lambda run: (run / "samples.txt").write_bytes(b"\xff"), "cannot read"),
        (lambda run: (run / "figures").write_text(""), "figures is no directory of its own"),
        (lambda run: (run / "figures").symlink_to("/tmp"), "figures is no directory of its own"),
    ],
    ids=["metrics", "samples", "a file", "a link"],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, data, damage, said):
    run = run_of(tmp_path / "run", data, NET)
    damage(run.path)
    _, err = call("plot", str(run.path), code=2)
    assert said in err
    assert err.count("\n") == 1


def edited(path, change):
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
def test_a_run_that_does_not_say_what_it_was_made_from_is_not_reported(
    tmp_path, data, name, value, said
):
    run = run_of(tmp_path / "run", data, NgramConfig())

    def change(record):
        record["data"][name] = value
        if value is None:
            del record["data"][name]

    edited(run.path / "config.json", change)
    for command in (["report"], ["plot"], ["export", "--html", str(tmp_path / "a.html")]):
        _, err = call(command[0], str(run.path), *command[1:], code=2)
        assert said in err
        assert err.count("\n") == 1
    call("sample", str(run.path), "--num", "1")  # its model is as good as ever


@pytest.mark.parametrize("name", ["a\0b", "\ud800", 5000 * "long/", 300 * "x"])
def test_a_data_path_that_no_file_can_have_is_one_line_or_a_note(tmp_path, data, name):
    run = run_of(tmp_path / "run", data, NgramConfig())
    edited(run.path / "config.json", lambda record: record["config"]["data"].update(data=name))
    long = len(name) > 100
    _, err = call("plot", str(run.path), code=0 if long else 2)
    assert ("some figures are left out" if long else "cannot be the name of a file") in err
    assert err.count("\n") == 1


def test_lines_are_told_apart_by_line_ends_alone(tmp_path):
    odd = [f"a\u2028b{i}" for i in range(9)] + [f"c\x85d\x1ce{i}" for i in range(9)]
    (tmp_path / "odd.txt").write_text("\n".join(odd))
    config = CountConfig(DataConfig(str(tmp_path / "odd.txt")), NgramConfig())
    run = make_run(tmp_path / "run", config, samples=odd[7:11])
    assert [line.text for line in summarize_run(load_run(run)).lines] == odd[7:11]


def test_what_is_not_known_is_not_called_new(tmp_path, data):
    moved = tmp_path / "moved.txt"
    shutil.copy(data.data, moved)
    run = run_of(tmp_path / "run", DataConfig(str(moved)), NgramConfig())
    assert "of them new" in call("plot", str(run.path))[0]
    moved.write_text("other\n" * 20)
    assert "of them new" not in call("plot", str(run.path))[0]


def test_a_sample_that_the_model_cannot_have_made_is_one_line(tmp_path, data):
    run = run_of(tmp_path / "run", data, NgramConfig())
    (run.path / "samples.txt").write_text("<b>\n")
    _, err = call("report", str(run.path), code=2)
    assert "samples.txt: symbol '<'" in err


def test_looks_at_arrays_that_the_model_has_not_are_not_drawn(tmp_path, data):
    run = run_of(tmp_path / "run", data, NET)
    odd = [{**LOOKS[0], "update_to_data": {"_evil": 1.0}}] * 3
    (run.path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in CURVE + odd)
    )
    assert "updates" not in record_of("plot", str(run.path))["figures"]
