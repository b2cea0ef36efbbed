"""The commands on one small run: what they say, what they write, and that their numbers agree."""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import math
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.cli.commands.data import download
from mm_jax.cli.common import Outcome
from mm_jax.cli.main import main
from mm_jax.config.base import InputError
from mm_jax.config.presets import PRESETS
from mm_jax.config.serialization import to_dict
from mm_jax.data.text import LECTURE_SHA256
from mm_jax.runtime.paths import find_data
from mm_jax.training.evaluate import evaluate
from tests.conftest import BESIDE
from tests.helpers import call, mlp64, nats64, record_of, strict_json

STEPS = 300
SMALL = ["--embed-dim", "4", "--hidden-dim", "16", "--init", "scaled", "--learning-rate", "0.5"]
USUAL = ["--steps", str(STEPS), *SMALL]  # one model and one size of data compile once
STARTS = ("em", "av", "li", "no", "ka", "so", "ir", "be")
ENDS = ("ma", "a", "el", "ora", "nie", "lia", "bel", "rin", "tta", "na")
LINES = [start + end for start in STARTS for end in ENDS]


def start(*args, cwd, env=None, **kwargs):
    """Start a command in a process of its own, which compiles quickly."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0", **(env or {})}
    command = [sys.executable, "-m", "mm_jax", *args]
    return subprocess.Popen(command, cwd=cwd, env=env, **{**pipes, **kwargs})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data and a trained run, made from within it by a relative path."""
    path = tmp_path_factory.mktemp("commands")
    (path / "names.txt").write_text("\n".join(LINES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        record = record_of("train", "--data", "names.txt", *USUAL, "--out", "run")
        (path / "record.json").write_text(json.dumps(record))
    return path


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


# train


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
    progress = r"step +300/300 +loss \d\.\d{4} .* steps/s .* left"
    assert any(re.fullmatch(progress, row) for row in rows)
    assert "80 lines" in rows[0]
    assert any(re.search(r"train \d\.\d{4}, dev \d\.\d{4}", row) for row in rows)
    samples = Path("runs/mlp-1/samples.txt").read_text().splitlines()
    known = [line in splits["train"] for line in samples]
    marked = [f"{s}\t(in train)" if k else s for s, k in zip(samples, known, strict=True)]
    assert rows[-20:] == marked
    assert any(known)
    assert not all(known)


def test_the_flags_of_the_issue_work_together():
    Path("names.txt").write_text("\n".join(LINES))
    flags = ["--context", "8", "--hidden-dim", "512", "--batch-size", "256"]
    flags += ["--learning-rate", "0.03", "--optimizer", "adamw", "--steps", "2"]
    record = record_of("train", "--preset", "lecture", "--data", "names.txt", *flags)
    expected = to_dict(PRESETS["lecture"].config)
    expected["data"]["data"] = str(Path("names.txt").absolute())
    expected["model"] |= {"context": 8, "hidden_dim": 512}
    expected["optimizer"] |= {"learning_rate": 0.03, "optimizer": "adamw"}
    expected |= {"batch_size": 256, "steps": 2}
    assert record["config"] == expected
    vocab_size = len(set("".join(LINES))) + 1
    shapes = {name: a.shape for name, a in load_file("runs/lecture-1/params.safetensors").items()}
    assert shapes == {
        "C": (vocab_size, 10),
        "W1": (80, 512),
        "b1": (512,),
        "W2": (512, vocab_size),
        "b2": (vocab_size,),
    }


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_flag_overrides_its_preset_wherever_it_stands(monkeypatch, place):
    asked = []

    def run(options, console):
        asked.append(options)
        return Outcome({})

    monkeypatch.setattr("mm_jax.cli.commands.train.run", run)
    flags = ["--hidden-dim=7", "--steps", "5"]
    flags.insert(place, "--preset=modern")
    call("train", *flags)
    expected = to_dict(PRESETS["modern"].config)
    expected["model"]["hidden_dim"] = 7
    expected["steps"] = 5
    assert to_dict(asked[0].config) == expected
    assert asked[0].preset == "modern"


# eval, score, sample


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
    assert "look 4 at the test split" in call("eval", run, "--split-name", "test")[0]


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


# Data that changed, other names, other terminals


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
    assert "loss in nats a symbol: . of minibatches, o their mean; + dev" in plain
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
    assert "go on with: mm-jax train --resume --out run" in err
    assert record["dev_loss"] is None  # a signal has no time for that; eval has
    found = record_of("eval", "run")
    assert found["step"] == record["steps"]
    assert math.isfinite(found["loss"])


INTERRUPT_AN_IMPORT = """
import os, signal, sys

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


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["plain", "json"])
def test_a_reader_that_leaves_early_is_no_error(run, monkeypatch, capsys, flags):
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["sample", run, *flags]) == 0
    assert capsys.readouterr().err.count("Error") == 0


@pytest.mark.slow
def test_training_goes_on_where_the_reader_leaves(folder, tmp_path):
    flags = ["--data", str(folder / "names.txt"), *USUAL, "--out", "run"]
    done = start("train", *flags, cwd=tmp_path)
    done.stdout.readline()
    done.stdout.close()
    err = done.stderr.read()
    done.stderr.close()
    assert done.wait(timeout=60) == 0, err
    assert err == ""
    assert (tmp_path / "run" / "params.safetensors").is_file()


# Training that diverges


def test_a_diverging_run_keeps_the_last_good_parameters(folder):
    flags = ["--data", str(folder / "names.txt"), *SMALL, "--schedule", "constant"]
    flags += ["--learning-rate", "1000", "--weight-decay", "0.1"]  # each step times 1 - 100
    record = record_of("train", *flags, "--steps", "300", "--out", "run", code=1)
    # float32 ends near 3e38, and 99 ** 20 is 8e39.
    assert 0 < record["steps"] < 22
    assert "--learning-rate" in record["stopped"]
    assert f"step {record['steps']} " in record["stopped"]
    for row in Path("run/metrics.jsonl").read_text().splitlines():
        strict_json(row)
    # The very parameters of a run that was told to end there, whose own end may be bad enough.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["train", *flags, "--steps", str(record["steps"]), "--out", "short"])
    kept, expected = (load_file(f"{name}/params.safetensors") for name in ("run", "short"))
    for name, array in expected.items():
        assert np.isfinite(kept[name]).all()
        assert np.array_equal(kept[name], array), name


def test_a_loss_that_is_not_finite_at_the_end_is_told(folder, monkeypatch):
    """Every minibatch and dev can be finite where the whole of train is not: it is made so here."""
    whole = evaluate

    def nan_on_train(model, params, data, **kwargs):
        loss = whole(model, params, data, **kwargs)
        return loss if len(data.targets) < 200 else loss * float("nan")

    monkeypatch.setattr("mm_jax.experiments.setup.evaluate", nan_on_train)
    flags = ["--data", str(folder / "names.txt"), *SMALL, "--steps", "60", "--out", "run"]
    out, err = call("train", *flags, "--json", code=1)
    record = strict_json(out)
    assert record["train_loss"] == "nan"
    assert math.isfinite(record["dev_loss"])
    assert record["num_examples"] >= 200
    assert record["stopped"]
    assert err.splitlines()[-1].startswith(f"mm-jax train: error: {record['stopped']}")
    call("score", "run", "emma")  # what was kept is usable


# data


def test_data_describes_names():
    record = record_of("data", "names")
    data = find_data("names").read_bytes()
    lines = data.decode().split()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["num_lines"] == len(lines)
    assert record["num_distinct"] == len(set(lines))
    assert record["command"] == "data"
    assert f"{len(lines):,} lines" in call("data", "names")[0]


def test_the_lecture_names_by_the_environment(lecture_text, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(lecture_text.path))
    record = record_of("data", "lecture-names")
    assert record["sha256"] == LECTURE_SHA256
    assert (record["num_lines"], record["num_distinct"]) == (32_033, 29_494)
    flags = ["--data", "lecture-names", "--steps", "0", *SMALL, "--out", "run"]
    assert record_of("train", *flags)["num_examples"] == 182_625
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    assert "mm-jax data lecture-names" in call("eval", "run", code=2)[1]
    shutil.copytree(lecture_text.path.parent, "cache/mm-jax")
    Path("cache/mm-jax", lecture_text.path.name).rename("cache/mm-jax/lecture-names.txt")
    assert record_of("eval", "run")["num_examples"] == 22_655


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that knows two files, one of which it never sends whole."""
    good = b"emma\nava\n"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/names.txt", "/cut.txt"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(good) + (self.path == "/cut.txt")))
            self.end_headers()
            self.wfile.write(good)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=functools.partial(httpd.serve_forever, 0.01), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_download_is_whole_or_not_at_all(server, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    sha256 = hashlib.sha256(b"emma\nava\n").hexdigest()
    target = tmp_path / "cache" / "names.txt"
    for path, digest, complaint in (
        ("names.txt", "0" * 64, f"not the expected file.*{sha256}"),
        ("cut.txt", sha256, "cannot download .*cut.txt"),
        ("missing.txt", sha256, "cannot download .*Not Found"),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            download(f"{server}/{path}", target, digest)
        assert "\n" not in str(caught.value)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    download(f"{server}/names.txt", target, sha256)
    assert target.read_bytes() == b"emma\nava\n"
    with pytest.raises(InputError):
        download(f"{server}/cut.txt", target, sha256)
    assert [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()] == [b"emma\nava\n"]


def test_the_copy_beside_the_repository_is_the_lectures(lecture_text):
    assert lecture_text.sha256 == LECTURE_SHA256
    assert lecture_text.path == BESIDE or os.environ.get("MM_JAX_LECTURE_NAMES")
