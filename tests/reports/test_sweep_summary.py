"""The summary of a sweep, from a small one, and what is refused of a damaged one."""

import json
import math
import shutil

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.reports.figures import make_figures
from mm_jax.reports.html import report
from mm_jax.reports.sweep_summary import is_sweep, summarize_sweep
from tests.helpers import call


@pytest.fixture(scope="module")
def swept(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("sweep") / "swept"
    call(
        *("sweep", "--data", data.data, "--model", "bigram", "--steps", "20", "--seeds", "2"),
        *("--batch-size", "16", "--learning-rate", "0.3,3,1", "--out", str(path)),
    )
    return path


def test_settings_come_the_best_first_with_their_losses(swept):
    summary = summarize_sweep(swept)
    record = json.loads((swept / "sweep.json").read_text())
    assert summary.names == ["learning_rate"]
    assert summary.scales == {"learning_rate": "names"}
    assert [each.mean for each in summary.settings] == sorted(
        each.mean for each in summary.settings
    )
    assert {each.choices["learning_rate"] for each in summary.settings} == {0.3, 1.0, 3.0}
    for setting, row in zip(summary.settings, record["settings"], strict=True):
        assert setting.losses == row["dev_losses"]
        assert setting.mean == pytest.approx(np.mean(row["dev_losses"]))
    assert summary.dropped == [False] * 3
    assert is_sweep(swept)
    assert not is_sweep(swept / "best")


def test_the_report_and_the_figure_of_a_sweep_have_its_best(swept):
    summary = summarize_sweep(swept)
    best = summary.settings[0]
    (figure,) = make_figures(summary)
    assert figure.name == "choices"
    assert f"the best, {best.mean:.4f}, has learning rate {best.choices['learning_rate']}" in (
        figure.description
    )
    page = report(summary).decode()
    assert f"The best setting reached {best.mean:.4f} nats per symbol on dev: learning rate" in page
    assert "<title>Sweep over learning rate</title>" in page
    assert page.count("<svg ") == 1
    diverged = summary._replace(
        settings=[each._replace(mean=math.inf, losses=[math.inf] * 2) for each in summary.settings]
    )
    assert list(make_figures(diverged)) == []
    assert (
        "Training diverged in every setting; lower the learning rate." in report(diverged).decode()
    )


def test_a_sweep_that_has_not_finished_is_refused(swept, tmp_path):
    path = shutil.copytree(swept, tmp_path / "swept")
    (path / "sweep.json").unlink()
    with pytest.raises(InputError, match=f"has not finished; .*--resume --out {path}"):
        summarize_sweep(path)


CHANGES = [
    ("sweep.json", lambda r: r.update(settings=[])),
    ("sweep.json", lambda r: r.update(settings="x")),
    ("sweep.json", lambda r: r["settings"][0].update(steps="9")),
    ("sweep.json", lambda r: r["settings"][0].update(num_params=1e400)),
    ("sweep.json", lambda r: r["settings"][0].update(mean_dev_loss=10**400)),
    ("sweep.json", lambda r: r["settings"][0].update(dev_losses=[])),
    ("sweep.json", lambda r: r["settings"][0]["choices"].update(learning_rate="<b>")),
    ("sweep.json", lambda r: r["settings"][0].update(choices=[1])),
    ("sweep.json", lambda r: r.update(train_command=3)),
    ("settings.json", lambda r: r.update(axes=[])),
    ("settings.json", lambda r: r["axes"][0].update(name="../<b>")),
    ("settings.json", lambda r: r["axes"][0].update(name=5)),
    ("settings.json", lambda r: r["axes"][0].update(log="x")),
    ("settings.json", lambda r: r["axes"][0].update(table="model", values=[])),
    ("settings.json", lambda r: r["axes"][0].update(values=[[1], {}])),
    ("settings.json", lambda r: r["axes"][0].update(values=[None, 1])),
    ("settings.json", lambda r: r["data"].pop("split_lines")),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[str(i) for i in range(len(CHANGES))])
def test_a_damaged_sweep_is_refused_by_the_name_of_its_file(swept, tmp_path, name, change):
    path = tmp_path / "swept"
    path.mkdir()
    for each in ("sweep.json", "settings.json"):
        shutil.copy(swept / each, path / each)
    record = json.loads((path / name).read_text())
    change(record)
    (path / name).write_text(json.dumps(record))
    with pytest.raises(InputError, match=name):
        summarize_sweep(path)
