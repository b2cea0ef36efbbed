"""mm-jax train on one small run: what it prints, what it writes, and that its numbers agree."""

import contextlib
import hashlib
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.cli.common import Outcome
from mm_jax.config.presets import PRESETS
from mm_jax.config.serialization import to_dict
from mm_jax.experiments.setup import load_setup
from mm_jax.models.registry import build_model
from mm_jax.runs.layout import read_metadata
from mm_jax.training.evaluate import evaluate
from mm_jax.training.minibatches import chunk_length
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import fit
from tests.cli.commands.conftest import LINES, SMALL, STEPS, USUAL, loss_by_hand
from tests.helpers import call, ended_within, record_of, strict_json

STARTED: list[subprocess.Popen] = []


def start(*args, cwd, env=None, **kwargs):
    """Start a command in a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**os.environ, **(env or {})}
    command = [sys.executable, "-m", "mm_jax", *args]
    process = subprocess.Popen(command, cwd=cwd, env=env, **{**pipes, **kwargs})
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def end_processes():
    """Whatever a test has started ends with it."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait(60)


def test_train_says_what_it_did(trained, splits, folder):
    vocab_size = len(set("".join(LINES))) + 1
    assert trained["command"] == "train"
    assert trained["steps"] == STEPS
    assert trained["stopped"] is None
    assert trained["vocab_size"] == vocab_size
    # C (V, D), W1 (3D, H), b1 (H,), W2 (H, V), b2 (V,)
    assert trained["num_params"] == vocab_size * 4 + 12 * 16 + 16 + 16 * vocab_size + vocab_size
    assert trained["num_examples"] == sum(len(line) + 1 for line in splits["train"])
    assert trained["run_dir"] == "run"
    assert trained["seconds"] > 0
    assert trained["steps_per_second"] > 0
    assert len(trained["samples"]) == 20
    assert trained["config"]["data"]["data"] == str(folder / "names.txt")
    assert trained["config"]["steps"] == STEPS
    assert trained["config"]["model"]["hidden_dim"] == 16
    assert trained["config"]["optimizer"]["learning_rate"] == 0.5


def test_train_learns_and_says_the_exact_loss(trained, run, splits):
    assert trained["train_loss"] == pytest.approx(loss_by_hand(run, splits["train"]), rel=1e-5)
    assert trained["dev_loss"] == pytest.approx(loss_by_hand(run, splits["dev"]), rel=1e-5)
    assert trained["train_loss"] < 0.7 * np.log(trained["vocab_size"])


def test_the_run_holds_what_was_chosen(trained, run, folder):
    record = json.loads((Path(run) / "config.json").read_text())
    assert record["config"] == trained["config"]
    data = (folder / "names.txt").read_bytes()
    assert record["data"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["data"]["split_lines"] == [64, 8, 8]
    assert record["symbols"] == [".", *sorted(set("".join(LINES)))]
    assert (Path(run) / "samples.txt").read_text().split("\n")[:-1] == trained["samples"]


def test_metrics_follow_the_training(trained, run):
    rows = [strict_json(row) for row in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    assert [row["step"] for row in losses] == list(range(1, STEPS + 1))
    rates = [row["learning_rate"] for row in losses]
    half = STEPS // 2
    np.testing.assert_allclose(rates, [0.5] * half + [0.05] * half, rtol=1e-6)
    first, last = (np.mean([row["loss"] for row in part]) for part in (losses[:9], losses[-9:]))
    assert last < 0.8 * first
    assert rows[-1]["step"] == STEPS
    assert rows[-1]["dev_loss"] == trained["dev_loss"]
    assert rows[-1]["train_loss"] == trained["train_loss"]


def test_train_prints_plain_lines_where_there_is_no_terminal(folder, splits):
    out, err = call("train", "--data", str(folder / "names.txt"), *USUAL)
    assert err == ""
    assert "\x1b" not in out
    assert "\r" not in out
    rows = out.splitlines()
    progress = r"step +300/300 +loss \d\.\d{4}(  .* steps/s  .* left)?"
    assert any(re.fullmatch(progress, row) for row in rows)
    assert "80 lines" in rows[0]
    assert any(re.search(r"train \d\.\d{4}, dev \d\.\d{4}", row) for row in rows)
    samples = Path("runs/mlp-1/samples.txt").read_text().splitlines()
    known = [line in splits["train"] for line in samples]
    marked = [f"{s}\t(in train)" if k else s for s, k in zip(samples, known, strict=True)]
    assert rows[-20:] == marked
    assert any(known)
    assert not all(known)


def test_lines_that_were_cut_are_marked_and_counted():
    """Of 200 symbols hardly one in a line of 64 is the end, before anything is learned."""
    Path("names.txt").write_text("\n".join(chr(0x4E00 + i) for i in range(200)), "utf-8")
    flags = ["--data", "names.txt", "--model", "bigram", "--init", "scaled", "--steps", "0"]
    out, err = call("train", *flags, "--out", "run")
    kept = Path("run/samples.txt").read_text("utf-8").split("\n")[:-1]
    num_cut = sum(line.endswith("\t(cut)") for line in kept)
    assert 0 < num_cut < 20
    assert out.count("\t(cut)") == num_cut
    assert err == f"{num_cut} of 20 lines were cut at 64 symbols; for longer ones: --max-len 256\n"
    done = record_of("train", "--resume", "--out", "run")
    assert done["num_cut"] == num_cut
    assert [line.removesuffix("\t(cut)") for line in kept] == done["samples"]
    made = record_of("sample", "run")
    assert (made["num_cut"], made["samples"]) == (num_cut, done["samples"])


def parsed(monkeypatch, *flags):
    """The options that the command would run with."""
    asked = []

    def run(options, console):
        asked.append(options)
        return Outcome({})

    monkeypatch.setattr("mm_jax.cli.commands.train.run", run)
    call("train", *flags)
    [options] = asked
    return options


def test_the_flags_of_the_issue_work_together(monkeypatch):
    flags = ["--context", "8", "--hidden-dim", "512", "--batch-size", "256"]
    flags += ["--learning-rate", "0.03", "--optimizer", "adamw", "--steps", "2"]
    config = parsed(monkeypatch, "--preset", "lecture", "--data", "names.txt", *flags).config
    expected = to_dict(PRESETS["lecture"].config)
    expected["data"]["data"] = "names.txt"
    expected["model"] |= {"context": 8, "hidden_dim": 512}
    expected["optimizer"] |= {"learning_rate": 0.03, "optimizer": "adamw"}
    expected |= {"batch_size": 256, "steps": 2}
    assert to_dict(config) == expected
    model = build_model(config.model, 27)
    shapes = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(model.init, jax.random.key(0)))
    assert shapes == {
        "C": (27, 10),
        "W1": (80, 512),
        "b1": (512,),
        "W2": (512, 27),
        "b2": (27,),
    }


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_flag_overrides_its_preset_wherever_it_stands(monkeypatch, place):
    flags = ["--hidden-dim=7", "--steps", "5"]
    flags.insert(place, "--preset=modern")
    options = parsed(monkeypatch, *flags)
    expected = to_dict(PRESETS["modern"].config)
    expected["model"]["hidden_dim"] = 7
    expected["steps"] = 5
    assert to_dict(options.config) == expected
    assert options.preset == "modern"


# Refused before the work


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--inside", "--seeds", "2"], "--inside is for one run; give one of the seeds"),
        (["--profile", "--seeds", "2"], "--profile is for one run; give one of the seeds"),
        (
            ["--profile", "--coordinator", "auto"],
            "--profile is for one process, without --coordinator",
        ),
    ],
)
def test_options_that_do_not_belong_together_are_refused_before_anything(flags, words, tmp_path):
    assert words in call("train", "--data", "nowhere", *flags, code=2)[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("drawn", "is_said"), [(5, True), (99, False)])
def test_a_run_on_drawn_symbols_says_so_and_is_measured_on_all(folder, tmp_path, drawn, is_said):
    out = str(tmp_path / "drawn")
    given = [
        "--data",
        str(folder / "names.txt"),
        *USUAL,
        "--sampled-symbols",
        str(drawn),
        "--out",
        out,
    ]
    printed, record = call("train", *given, "--steps", "20")[0], record_of("eval", out)
    vocab_size = len(set("".join(LINES))) + 1
    said = f"the loss of a step reads 5 of the {vocab_size} symbols, drawn anew each time"
    assert (said in printed) is is_said
    lines = (tmp_path / "drawn" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["dev_loss"] == pytest.approx(record["loss"], rel=1e-6)


def test_a_run_at_its_end_is_told_and_not_profiled(trained, run, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        before = {path: path.read_bytes() for path in Path("run").rglob("*.*")}
        record = record_of("train", "--resume", "--out", "run")
        assert {name: record[name] for name in ("steps", "dev_loss", "samples")} == {
            name: trained[name] for name in ("steps", "dev_loss", "samples")
        }
        words = "run has come to its end: --profile is for a run in training"
        assert words in call("train", "--resume", "--out", "run", "--profile", code=2)[1]
        assert {path: path.read_bytes() for path in Path("run").rglob("*.*")} == before


# A terminal, a pipe, an interrupt


@pytest.mark.slow
def test_a_terminal_sees_a_progress_bar(folder, tmp_path, monkeypatch):
    ours, theirs = pty.openpty()
    flags = ["--data", str(folder / "names.txt"), *USUAL, "--out", "run"]
    env = {"TERM": "xterm", "COLUMNS": "100"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    done = start("train", *flags, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, text=False)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # Linux says EIO where the other end is closed
        while part := os.read(ours, 65536):
            seen += part
    os.close(ours)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    assert "\x1b[" in seen.decode()
    assert re.search(r"━+ 300/300 steps loss \d\.\d{4} .*steps/s", plain)
    assert "step 300/300" not in plain
    assert "loss in nats per symbol: . of minibatches, o their mean; + dev" in plain
    assert err == b""


def test_without_a_terminal_there_is_no_chart(folder, tmp_path):
    flags = ["train", "--data", str(folder / "names.txt"), *USUAL]
    for more in ([], ["--json"]):
        out, err = call(*flags, *more, "--out", f"{tmp_path}/run{len(more)}")
        assert "o their mean" not in out + err


def wait_for(path, seconds=60):
    """Wait until a file is there and holds something."""
    end = time.monotonic() + seconds
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_keeps_the_run(folder, tmp_path):
    flags = ["--data", str(folder / "names.txt"), "--steps", "50000000", *SMALL, "--out", "run"]
    done = start("train", *flags, "--json", cwd=tmp_path)
    wait_for(tmp_path / "run" / "metrics.jsonl")
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 130
    record = strict_json(out)
    assert 0 < record["steps"] < 50_000_000
    assert record["stopped"] == f"interrupted after step {record['steps']}"
    assert err.splitlines()[-1].startswith(f"mm-jax train: error: {record['stopped']}")
    assert "Traceback" not in err
    assert "resume with: mm-jax train --resume --out run" in err
    assert record["dev_loss"] is None  # a signal has no time for that; eval has
    found = record_of("eval", "run")
    assert found["step"] == record["steps"]
    assert math.isfinite(found["loss"])


INTERRUPT_AN_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without

class Interrupts:
    def __del__(self):  # what is raised here is lost, as it is in jax's own callbacks
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "jax":
            Interrupts()

sys.meta_path.insert(0, Finder())
from mm_jax.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_while_jax_is_imported_ends_the_command(folder, tmp_path):
    flags = ["--data", str(folder / "names.txt"), "--steps", "3", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT_AN_IMPORT, "train", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130
    assert done.stderr == "mm-jax train: error: interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_training_continues_where_the_reader_leaves(folder, tmp_path):
    flags = ["--data", str(folder / "names.txt"), *USUAL, "--out", "run"]
    done = start("train", *flags, cwd=tmp_path)
    with ended_within(120, done):
        done.stdout.readline()
        done.stdout.close()
        err = done.stderr.read()
        done.stderr.close()
        assert done.wait(timeout=60) == 0, err
    assert err == ""
    assert (tmp_path / "run" / "params.safetensors").is_file()


def test_a_diverging_run_keeps_the_last_good_parameters(folder):
    flags = ["--data", str(folder / "names.txt"), *USUAL, "--schedule", "constant"]
    flags += ["--learning-rate", "1000", "--weight-decay", "0.1"]  # each step times 1 - 100
    record = record_of("train", *flags, "--out", "run", code=1)
    # float32 ends near 3e38, and 99 ** 20 is 8e39.
    assert 0 < record["steps"] < 22
    assert "--learning-rate" in record["stopped"]
    assert f"step {record['steps']} " in record["stopped"]
    for row in Path("run/metrics.jsonl").read_text().splitlines():
        strict_json(row)
    # The very parameters after as many steps, whose own end may be bad enough.
    config = read_metadata(Path("run")).config
    optimizer = make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer)
    state, losses = fit(
        setup.model,
        optimizer,
        setup.initial_state(optimizer),
        setup.data,
        num_steps=chunk_length(setup.data, config.batch_size),
        batch_size=config.batch_size,
        limit=np.int32(record["steps"]),
        mesh=None,
    )
    assert np.isfinite(losses[: record["steps"]]).all()
    kept = load_file("run/params.safetensors")
    assert kept.keys() == state.params.keys()
    for name, array in state.params.items():
        assert np.isfinite(kept[name]).all()
        assert np.array_equal(kept[name], array), name


def test_a_loss_that_is_not_finite_at_the_end_is_told(folder, monkeypatch):
    """Every minibatch and dev can be finite where the whole of train is not: it is made so here."""
    whole = evaluate

    def nan_on_train(model, params, data, **kwargs):
        loss = whole(model, params, data, **kwargs)
        return loss if data.num_examples < 200 else loss * float("nan")

    monkeypatch.setattr("mm_jax.experiments.evaluation.evaluate", nan_on_train)
    flags = ["--data", str(folder / "names.txt"), *USUAL, "--out", "run"]
    out, err = call("train", *flags, "--json", code=1)
    record = strict_json(out)
    assert record["train_loss"] == "nan"
    assert math.isfinite(record["dev_loss"])
    assert record["num_examples"] >= 200
    assert record["stopped"]
    assert err.splitlines()[-1].startswith(f"mm-jax train: error: {record['stopped']}")
    call("score", "run", "emma")  # what was kept is usable


def test_a_run_at_its_end_is_not_taken_for_one_of_another_file(trained, run, folder):
    del trained, run
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("others.txt").write_text("\n".join(["ab", "ba", "abba"] * 10))
        words = "others.txt is not what run was trained on: its sha256 is"
        assert words in call("train", "--resume", "--out", "run", "--data", "others.txt", code=2)[1]
