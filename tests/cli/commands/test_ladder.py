"""mm-jax ladder: its table, its record, its page, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mm_jax.cli.main import main
from mm_jax.runs.reader import load_run
from tests.cli.commands.conftest import LINES
from tests.helpers import call, ended_within, record_of

MODELS = "uniform,bigram,kneser-ney,bigram-net"
LADDER = ["ladder", "--data", "names.txt", "--models", MODELS, "--seeds", "2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data and a ladder, and what the command said with --json."""
    path = tmp_path_factory.mktemp("ladder")
    (path / "names.txt").write_text("\n".join(LINES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        record = record_of(*LADDER, "--out", "out")
    return path, record


@pytest.fixture
def inside(made, monkeypatch):
    monkeypatch.chdir(made[0])


def test_its_record_is_that_of_ladder_json(made, inside):
    folder, record = made
    kept = json.loads((folder / "out" / "ladder.json").read_text())
    assert record == kept | {"command": "ladder", "run_dir": "out"}
    assert [entry["name"] for entry in record["entries"]] == MODELS.split(",")


def test_its_table_has_a_line_for_each_model_and_a_bar(made, inside):
    out, _ = call("ladder", "--resume", "--out", "out")
    for entry in made[1]["entries"]:
        loss = sum(entry["dev_losses"]) / len(entry["dev_losses"])
        row, bar = [line for line in out.splitlines() if re.match(rf" *{entry['name']} ", line)]
        assert f"{loss:.4f}" in row
        assert "|" in bar
        assert bar.endswith(f"{loss:.4f}")
    assert out.count("±") == 2  # in the head, and of the net
    assert "training" not in out


def test_a_run_of_the_ladder_is_a_run_like_any_other(made, inside):
    record = record_of("eval", "out/bigram-net/seed-1")
    net = made[1]["entries"][-1]
    assert record["loss"] == pytest.approx(net["dev_losses"][1], rel=1e-6)
    assert load_run("out/kneser-ney").config.model.name == "kneser-ney"
    repeated = record_of(*net["command"].split()[1:], "--out", "again")
    assert repeated["dev_loss"] == pytest.approx(net["dev_losses"][0], rel=1e-6)


def test_its_page_has_the_table_the_commands_and_a_generator(made, inside):
    record_of("report", "out")
    page = (made[0] / "out" / "report.html").read_text()
    assert "Ladder on names.txt" in page
    for entry in made[1]["entries"]:
        assert f"{entry['train_losses'][0]:.4f}" in page
        assert (entry["command"] or "") in page
    assert page.count("<figure") == 2
    assert 'id="generator"' in page


def test_plot_draws_two_figures(made, inside):
    record = record_of("plot", "out", "--out", "drawn")
    assert [*record["figures"]] == ["ladder_seconds", "ladder_num_params"]
    assert {p.name for p in Path("drawn").iterdir()} == {
        f"{name}{ending}" for name in record["figures"] for ending in (".png", ".svg")
    }


def test_it_goes_on_with_the_choices_that_it_was_begun_with(made, inside, capsys):
    for flags, name in (
        (["--models", "gru"], "--models"),
        (["--seeds", "3"], "--seeds"),
        (["--budget", "5"], "--budget"),
        (["--split", "unique"], "--data"),
    ):
        assert main(["ladder", "--resume", "--out", "out", *flags]) == 2
        assert f"out was made with another {name}; resume without" in capsys.readouterr().err


def test_other_data_of_the_same_name_are_refused(made, inside, tmp_path, capsys):
    record = json.loads((made[0] / "out" / "ladder.json").read_text())
    record["data"]["sha256"] = "0" * 64
    (tmp_path / "ladder.json").write_text(json.dumps(record))
    assert main(["ladder", "--resume", "--out", str(tmp_path)]) == 2
    assert "is not what" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--models", "gru,grue"], "--models has no 'grue'; choose from uniform"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--budget", "0"], "--budget must be greater than 0"),
        (["--budget", "soon"], "--budget"),
        (["--resume"], "--resume needs --out"),
        (["--out", "out"], "--out out exists and is not empty"),
        (["--data", "nothing.txt"], "nothing.txt"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(made, inside, flags, words, capsys):
    assert main(["ladder", *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_where_all_is_left_out_the_reasons_stand_in_place_of_a_table(made, inside, tmp_path):
    flags = ["--models", "mlp-lecture,ensemble", "--budget", "1e-9", "--out", str(tmp_path / "new")]
    out, _ = call("ladder", "--data", "names.txt", *flags)
    assert "dev ± 95%" not in out
    assert "\n\n\n" not in out
    assert "left out   mlp-lecture: --budget 1e-09 is too short" in out
    assert "left out   ensemble: it needs a net, and two seeds or more" in out


def test_without_results_there_is_no_page(made, inside, tmp_path, capsys):
    record = json.loads((made[0] / "out" / "ladder.json").read_text()) | {"entries": []}
    (tmp_path / "ladder.json").write_text(json.dumps(record))
    assert main(["report", str(tmp_path)]) == 2
    assert "has no results yet; resume it: mm-jax ladder --resume" in capsys.readouterr().err


def test_a_full_disk_leaves_the_table_of_what_is_finished(made, tmp_path, monkeypatch, capsys):
    """The disk is full once the second entry is to be recorded."""
    from mm_jax.config.base import InputError
    from mm_jax.experiments import ladder_record

    (tmp_path / "names.txt").write_text("\n".join(LINES))
    write, count = ladder_record.write_whole, iter(range(99))

    def write_two(path, data):
        if next(count) >= 2:
            raise InputError(f"cannot write {path}: No space left on device")
        write(path, data)

    monkeypatch.setattr(ladder_record, "write_whole", write_two)
    assert main([*LADDER, "--out", "out"]) == 2
    out, err = capsys.readouterr()
    assert "uniform" in out
    assert err.count("\n") == 1
    assert "No space left on device; put that right, and resume with: mm-jax ladder" in err
    kept = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert [entry["name"] for entry in kept["entries"]] == ["uniform"]
    monkeypatch.setattr(ladder_record, "write_whole", write)
    record = record_of("ladder", "--resume", "--out", "out")
    assert [entry["name"] for entry in record["entries"]] == MODELS.split(",")


@pytest.mark.slow
def test_ctrl_c_shows_what_is_finished_and_says_how_to_go_on(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(LINES))
    command = [sys.executable, "-m", "mm_jax", "ladder", "--data", "names.txt", "--out", "out"]
    command += ["--models", "bigram,mlp-lecture", "--seeds", "1", "--budget", "600"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    with ended_within(300, process):
        for line in process.stdout:
            if line.startswith("training"):
                break
        while not (tmp_path / "out/mlp-lecture/seed-0/checkpoints").exists():
            if process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130, err
    assert re.search(r"^bigram +\d+", out, re.MULTILINE)
    assert "interrupted; resume with: mm-jax ladder --resume --out out" in err
    kept = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert [entry["name"] for entry in kept["entries"]] == ["bigram"]
