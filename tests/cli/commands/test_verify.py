"""mm-jax verify: what it prints of files and steps, and when it fails."""

import shutil
from pathlib import Path

import pytest

from mm_jax.runs.checkpoint import checkpoint_path
from tests.experiments.test_verify import change_moments
from tests.helpers import call, record_of
from tests.trained_run import TRAIN, back_to, folder_with_run, reseal


@pytest.fixture
def run(tmp_path_factory, tmp_path, monkeypatch):
    """A copy of a run of 60 steps, with checkpoints at 40 and 60."""
    shutil.copytree(folder_with_run(tmp_path_factory.getbasetemp()), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"  # whose data is still that of the folder which was copied


def test_a_run_is_verified_and_its_last_steps_repeat(run):
    out, err = call("verify", "run")
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "files      run: 7 of 7 are what was written"
    assert lines[1].startswith("steps      40 to 60, taken again in ")
    assert lines[1].endswith("arrays is the same")
    record = record_of("verify", "run")
    [verified] = record["verified"]
    assert verified["num_files"] == 7
    replayed = verified["replayed"]
    assert (replayed["first"], replayed["last"], replayed["differing"]) == (40, 60, [])
    assert record["seconds"] >= replayed["seconds"] > 0


def test_a_run_that_has_not_ended_is_verified_up_to_its_newest_checkpoint(run):
    back_to(run, 60)
    checkpoint_path(run, 40).unlink()
    out, err = call("verify", "run")
    assert err == ""
    assert "files      run: 2 of 2" in out
    assert "steps      0 to 60" in out


def test_files_that_changed_and_steps_that_differ_are_one_line_and_exit_code_1(run):
    """With right checksums of the checkpoints, but from other moments than the run had."""
    (run / "samples.txt").write_text("other\n")
    reseal(checkpoint_path(run, 40), change_moments)
    out, err = call("verify", "run", code=1)
    assert "files      run: 6 of 7 are what was written" in out
    assert "steps      40 to 60, taken again" in out
    assert "other bits in" in out
    assert "run/samples.txt is not what was written" in err
    assert err.endswith(", and 1 more\n")
    assert err.count("\n") == 1
    complaints = record_of("verify", "run", code=1)["verified"][0]["complaints"]
    assert complaints[1] == "run does not repeat: other bits in C, W1, W2"


def test_bits_that_differ_elsewhere_are_no_fault(run):
    reseal(checkpoint_path(run, 40), change_moments)
    reseal(checkpoint_path(run, 60), lambda c: c.record["fingerprint"].update(jaxlib="0.1"))
    out, err = call("verify", "run")
    assert err == ""
    assert "as may be: jaxlib 0.1 before" in out


def test_what_cannot_be_repeated_is_exit_code_1(run):
    (run / "metrics.jsonl").write_text("{}\n")
    out, err = call("verify", "run", code=1)
    assert "steps      not repeated: run/metrics.jsonl does not say after how many steps" in out
    assert "and 1 more" in err


@pytest.mark.slow
def test_seeds_and_sweeps_are_verified_by_their_first_member(run):
    net = TRAIN[1:-2]
    call("train", *net, "--seeds", "2", "--out", "seeds")
    out, err = call("verify", "seeds")
    assert err == ""
    assert "files      seeds: 4 of 4" in out
    assert "steps      0 to 60" in out
    call("sweep", *net, "--batch-size", "8,16", "--seeds", "2", "--out", "swept")
    out, err = call("verify", "swept")
    assert err == ""
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("files")] == [
        "files      swept/best",
        "files      swept/ensemble",
        "files      swept",
    ]
    metrics = Path("seeds/metrics.jsonl")
    metrics.write_bytes(metrics.read_bytes().replace(b"{", b"[", 1))
    assert "seeds/metrics.jsonl is not what was written" in call("verify", "seeds", code=1)[1]
    path = Path("swept/ensemble/params.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    assert "swept/ensemble/params.safetensors" in call("verify", "swept", code=1)[1]
    call("train", *net, "--seeds", "2", "--members-per-slice", "2", "--out", "sliced")
    _, err = call("verify", "sliced", code=1)
    assert "trained in slices of several members, which repeat to rounding only" in err


def test_what_was_counted_has_files_only(run):
    call("count", "--data", "names.txt", "--out", "counted")
    out, err = call("verify", "counted")
    assert err == ""
    assert "files      counted: 4 of 4" in out
    assert "steps" not in out


def test_what_is_no_run_is_refused(run):
    assert "is not a run directory: it has no config.json" in call("verify", ".", code=2)[1]
