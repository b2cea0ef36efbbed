"""mm-jax verify: every file against its checksum, and the last steps taken again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.runs.checkpoint import checkpoint_path
from tests.helpers import call, record_of
from tests.system.test_resume import TRAIN, back_to, reseal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify")
    (path / "names.txt").write_text("\n".join(a + b for a in "abcdefg" for b in ("an", "el", "o")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        record_of(*TRAIN, "--out", "run")
    return path


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    """A copy of a run of 60 steps, with checkpoints at 40 and 60."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
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
    [found] = record["verified"]
    assert found["num_files"] == 7
    replayed = found["replayed"]
    assert (replayed["first"], replayed["last"], replayed["differing"]) == (40, 60, [])
    assert replayed["arrays"] > 15  # the moments of adam, too
    assert record["seconds"] >= replayed["seconds"] > 0


def test_without_a_checkpoint_before_it_begins_at_the_first_step(run):
    checkpoint_path(run, 40).unlink()
    assert "steps      0 to 60, taken again" in call("verify", "run")[0]


def test_a_run_that_has_not_ended_is_verified_up_to_its_newest_checkpoint(run):
    back_to(run, 60)
    checkpoint_path(run, 40).unlink()
    out, err = call("verify", "run")
    assert err == ""
    assert "files      run: 2 of 2" in out
    assert "steps      0 to 60" in out


def flip(name, place=-1):
    def damage(run):
        data = bytearray((run / name).read_bytes())
        data[place] ^= 1
        (run / name).write_bytes(data)

    return damage


DAMAGES = {
    "config": (flip("config.json"), "run/config.json is not what was written"),
    "metrics": (flip("metrics.jsonl", 40), "run/metrics.jsonl is not what was written"),
    "samples": (flip("samples.txt"), "run/samples.txt is not what was written"),
    "params": (flip("params.safetensors"), "run/params.safetensors is not what was written"),
    "newest": (flip("checkpoints/step-0000000060.safetensors"), "0060.safetensors is damaged"),
    "before": (flip("checkpoints/step-0000000040.safetensors"), "0040.safetensors is damaged"),
    "best": (flip("checkpoints/best.safetensors", 100), "best.safetensors is damaged"),
    "gone": (lambda run: (run / "samples.txt").unlink(), "samples.txt: No such file"),
    "way out": (
        lambda run: (run / "SHA256SUMS").write_text(f"{'0' * 64}  ../names.txt\n"),
        "names '../names.txt', no file of the run",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_whatever_is_not_as_it_was_is_named(run, damage, words):
    damage(run)
    _, err = call("verify", "run", code=1)
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_other_data_cannot_repeat_a_run(run):
    Path("other.txt").write_text("other\nlines\n" * 20)
    call(*TRAIN, "--data", "other.txt", "--out", "other")
    Path("other.txt").write_text("and\nother\nlines\n" * 20)
    assert "other.txt is not what other was trained on" in call("verify", "other", code=1)[1]


def test_steps_that_do_not_repeat_are_told(run):
    """With right checksums everywhere, but from other moments than the run had."""

    def change(found):
        name = next(name for name in found.arrays if name.endswith("mu.W1"))
        found.arrays[name] = found.arrays[name] + np.float32(1e-3)

    reseal(checkpoint_path(run, 40), change)
    out, err = call("verify", "run", code=1)
    assert "steps      40 to 60, taken again" in out
    assert "other bits in" in out
    assert "run does not repeat: other bits in C, W1, W2" in err


def test_bits_that_differ_elsewhere_are_no_fault(run):
    def change(found):
        name = next(name for name in found.arrays if name.endswith("mu.W1"))
        found.arrays[name] = found.arrays[name] + np.float32(1e-3)

    def elsewhere(found):
        found.record["fingerprint"] |= {"jaxlib": "0.1"}

    reseal(checkpoint_path(run, 40), change)
    reseal(checkpoint_path(run, 60), elsewhere)
    out, err = call("verify", "run")
    assert err == ""
    assert "as may be: jaxlib 0.1 before" in out


def test_parameters_of_another_run_do_not_repeat(run):
    params = load_file(run / "params.safetensors")
    params["b2"][0] = np.nextafter(params["b2"][0], np.float32(9))
    save_file(params, run / "params.safetensors")
    out, err = call("verify", "run", code=1)
    assert "other bits in 1 arrays (b2)" in out
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
