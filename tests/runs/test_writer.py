"""A run directory: chosen, held by one writer, and written so that no half passes for a whole."""

import csv
import errno
import hashlib
import json
import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import mm_jax
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import RunConfig
from mm_jax.data.samples import to_text
from mm_jax.runs import writer
from mm_jax.runs.checkpoint import save_checkpoint
from mm_jax.runs.layout import FORMAT, RunMetadata, read_metadata
from mm_jax.runs.reader import load_run
from mm_jax.runs.writer import choose_dir, hold_dir
from tests.helpers import assert_trees_identical
from tests.runs.small_run import CONFIG, DATA, SAMPLES, VOCAB, make_run, random_params
from tests.system.faults import Faulty

METADATA = RunMetadata(CONFIG, VOCAB.symbols, DATA)
SHAPES = {"C": (6, 2), "W1": (4, 3), "b1": (3,), "W2": (3, 6), "b2": (6,)}  # V 6, C 2, D 2, H 3


# The directory


def test_a_new_run_gets_the_first_free_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(choose_dir(None, "mlp")) == "runs/mlp-1"
    (tmp_path / "runs" / "mlp-1").mkdir(parents=True)
    (tmp_path / "runs" / "mlp-3").mkdir()
    assert str(choose_dir(None, "mlp")) == "runs/mlp-2"
    assert str(choose_dir(None, "other")) == "runs/other-1"
    assert not (tmp_path / "runs" / "mlp-2").exists()


def test_a_directory_for_a_run_must_be_free(tmp_path):
    free, new = tmp_path / "free", tmp_path / "new" / "deep"
    free.mkdir()
    assert choose_dir(str(free), "mlp") == free
    assert choose_dir(str(new), "mlp") == new
    assert not new.parent.exists()
    for name in (".lock", "config.json.7.part"):  # what a crash before the first file leaves
        (free / name).write_text("7")
    assert choose_dir(str(free), "mlp") == free
    (free / "file").write_text("keep me")
    with pytest.raises(InputError, match=r"is not empty; name another$"):
        choose_dir(str(free), "mlp")
    assert choose_dir(str(free), "mlp", resume=True) == free
    with pytest.raises(InputError, match="not a directory"):
        choose_dir(str(free / "file"), "mlp", resume=True)
    with pytest.raises(InputError, match="--out is empty"):
        choose_dir("", "mlp")
    assert (free / "file").read_text() == "keep me"


@pytest.mark.parametrize(
    ("name", "command"),
    [("checkpoints", "train"), ("sweep.json", "sweep"), ("ladder.json", "ladder")],
)
def test_where_something_can_be_resumed_the_command_is_named(tmp_path, name, command):
    (tmp_path / "config.json").write_text("{}")  # alone: counted, or a mixture
    with pytest.raises(InputError, match=r"is not empty; name another$"):
        choose_dir(str(tmp_path), "mlp")
    (tmp_path / name).write_text("{}")
    advice = f"or resume it: mm-jax {command} --resume --out {tmp_path}"
    with pytest.raises(InputError, match=f"is not empty; name another, {re.escape(advice)}$"):
        choose_dir(str(tmp_path), "mlp")


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="lost is a link that leads nowhere"):
        choose_dir(str(tmp_path / "lost"), "mlp")
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match=r"Not a directory|no directory that can be written to"):
        choose_dir(str(tmp_path / "file" / "run"), "mlp")
    with pytest.raises(InputError, match="File name too long"):
        choose_dir(str(tmp_path / ("n" * 300)), "mlp")
    monkeypatch.setattr("os.access", lambda *_: False)  # for root everything is writable
    with pytest.raises(InputError, match=f"{tmp_path} is no directory that can be written to"):
        choose_dir(str(tmp_path / "run"), "mlp")


def test_of_many_processes_only_the_first_one_looks_and_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "is_primary", lambda: False)
    (tmp_path / "file").write_text("text")
    assert choose_dir(str(tmp_path), "mlp") == tmp_path
    with hold_dir(tmp_path / "run", str(tmp_path / "run"), "mlp") as path:
        writer.write_metadata(path, METADATA)
        writer.append_metrics(path, [{"step": 1}])
        writer.save_settings(path, {})
        writer.save_table(path, [["a"]], {})
        writer.save_results(path, random_params(), to_text(SAMPLES, DataConfig()))
        writer.drop_results(path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_directory_is_made_and_held_by_one_writer(tmp_path):
    out = tmp_path / "deep" / "run"
    with hold_dir(out, str(out), "mlp") as path:
        assert path == out
        (path / "config.json").write_text("{}")
        other = hold_dir(out, str(out), "mlp", resume=True)
        with pytest.raises(InputError, match=f"another process {os.getpid()} is writing"), other:
            pass
    with pytest.raises(InputError, match="is not empty"), hold_dir(out, str(out), "mlp"):
        pass  # another process came first and has ended
    with hold_dir(out, str(out), "mlp", resume=True):
        pass


def test_what_a_crash_left_half_written_is_removed(tmp_path):
    save_checkpoint(tmp_path, 3, {"params.W": np.zeros(2)}, {})
    partial = [tmp_path / "config.json.7.part", tmp_path / "checkpoints" / "best.7.part"]
    for path in partial:
        path.write_text("half")
    with hold_dir(tmp_path, str(tmp_path), "mlp", resume=True):
        assert not any(path.exists() for path in partial)
    assert (tmp_path / "checkpoints/step-0000000003.safetensors").exists()


def test_a_number_that_another_process_took_meanwhile_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = choose_dir(None, "mlp")
    (tmp_path / "runs" / "mlp-1").mkdir(parents=True)
    with hold_dir(chosen, None, "mlp") as path:
        assert str(path) == "runs/mlp-2"
    (tmp_path / "runs" / "file").write_text("text")
    broken = chosen.parent / "file" / "mlp-1"
    with pytest.raises(InputError, match="cannot make"), hold_dir(broken, None, "mlp"):
        pass
    with pytest.raises(InputError, match="cannot make"), hold_dir(broken, str(broken), "mlp"):
        pass


# Its files


def test_any_program_can_read_what_is_written(tmp_path):
    make_run(tmp_path / "run")
    named = load_file(tmp_path / "run" / "params.safetensors")
    assert {name: array.shape for name, array in named.items()} == SHAPES
    assert {str(array.dtype) for array in named.values()} == {"float32"}
    assert (tmp_path / "run/samples.txt").read_bytes() == "emma\n\nжé\t(cut)\n".encode()
    assert (tmp_path / "run/metrics.jsonl").read_text() == '{"step": 1, "loss": 2.5}\n'
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert record["format"] == FORMAT
    assert record["config"] == to_dict(CONFIG)
    assert record["symbols"] == [".", "a", "e", "m", "é", "ж"]
    assert record["versions"]["jax"] == jax.__version__
    assert record["data"]["sha256"] == "0" * 64
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "metrics.jsonl",
        "params.safetensors",
        "samples.txt",
    ]


def test_sha256sum_agrees(tmp_path):
    make_run(tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    files = ("config.json", "metrics.jsonl", "samples.txt", "params.safetensors")
    assert lines == [
        f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}" for name in files
    ]
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(check, cwd=tmp_path, check=True, capture_output=True, timeout=60)


def test_metrics_are_appended(tmp_path):
    make_run(tmp_path)
    writer.append_metrics(tmp_path, [{"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1.0}])
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[1:] == [{"step": 2, "loss": "nan"}, {"step": 3, "loss": 1.0}]


def test_a_run_that_is_written_to_again_is_not_complete_meanwhile(tmp_path):
    make_run(tmp_path)
    writer.drop_results(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(InputError, match="half-written"):
        load_run(tmp_path)


def test_a_sweep_is_its_settings_its_table_and_at_its_end_its_record(tmp_path):
    writer.save_settings(tmp_path, {"seeds": 2})
    rows = [["lr", "dev"], [0.1, 2.5], ['a "quote", and comma', "é"]]
    writer.save_table(tmp_path, rows, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["members.csv", "settings.json"]
    with open(tmp_path / "members.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [[str(x) for x in row] for row in rows]
    writer.save_table(tmp_path, rows, {"best": 1})
    assert json.loads((tmp_path / "sweep.json").read_text()) == {"best": 1}
    assert json.loads((tmp_path / "settings.json").read_text()) == {"seeds": 2}
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert done.stdout.split() == b"settings.json: OK members.csv: OK sweep.json: OK".split()


# Faults


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_fault_at_any_file_operation_never_leaves_a_mixture(tmp_path, monkeypatch):
    """Results are written over older ones: at each moment the run is the old or the new one."""
    old, new = random_params(3), random_params(4)
    reached, ends = [], set()
    for number in range(1, 100):
        run = tmp_path / str(number)
        make_run(run)
        with monkeypatch.context() as patch:
            faulty = Faulty(number, "ENOSPC")
            patch.setattr("mm_jax.runtime.atomic_files.os", faulty)
            try:
                writer.save_results(run, new, "new\n")
                complaint = None
            except InputError as error:
                complaint = str(error)
        found = load_run(run).params
        is_new = bool((found["W1"] == new["W1"]).all())
        assert_trees_identical(found, new if is_new else old)
        ends.add(is_new)
        if faulty.reached is None:
            break
        reached.append(faulty.reached)
        assert complaint.startswith("cannot ")
        assert complaint.endswith("No space left on device")
        assert "\n" not in complaint
        writer.save_results(run, new, "new\n")
        assert_trees_identical(load_run(run).params, new)
        assert not list(run.glob("*.part"))
    assert complaint is None
    assert reached.count("replace") == 3  # samples.txt, SHA256SUMS, params.safetensors
    assert ends == {False, True}


def test_parameters_are_written_last(tmp_path, monkeypatch):
    """Where the disk fills up before the end, the run is half-written, not wrong."""
    writer.write_metadata(tmp_path / "run", METADATA)
    real, calls = os.fsync, []

    def full_at_the_parameters(file):
        calls.append(file)
        return real(file) if len(calls) < 5 else no_space()

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_at_the_parameters)
        with pytest.raises(InputError, match=r"params\.safetensors.*No space left"):
            writer.save_results(tmp_path / "run", random_params(), to_text(SAMPLES, DataConfig()))
    with pytest.raises(InputError, match="half-written"):
        load_run(tmp_path / "run")


def test_a_config_that_cannot_be_written_is_an_input_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="cannot make"):
        writer.write_metadata(tmp_path / "file" / "run", METADATA)
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(InputError, match=r"config\.json.*No space left"):
        writer.write_metadata(tmp_path / "run", METADATA)
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_is_written_is_what_is_read(tmp_path):
    metadata = METADATA._replace(lr_range={"suggested": 0.3}, fingerprint={"jax": "0"})
    writer.write_metadata(tmp_path / "new" / "run", metadata)
    assert read_metadata(tmp_path / "new" / "run") == metadata


def test_a_checkout_that_is_not_installed_has_a_version_too(tmp_path, monkeypatch):
    def installed(name):
        if name == "mm_jax":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(writer, "version", installed)
    writer.write_metadata(tmp_path / "run", RunMetadata(RunConfig(), [".", "a"], {}, None, {}))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["versions"]["mm_jax"] == mm_jax.__version__
