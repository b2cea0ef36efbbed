"""Every file against its checksum, and the last steps taken again: what differs is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.config.base import InputError
from mm_jax.experiments.verify import check_files, replay
from mm_jax.runs.checkpoint import checkpoint_path
from tests.trained_run import back_to, folder_with_run, reseal


@pytest.fixture
def run(tmp_path_factory, tmp_path, monkeypatch):
    """A copy of a run of 60 steps, with checkpoints at 40 and 60."""
    whole = folder_with_run(tmp_path_factory.getbasetemp())
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("run")  # whose data is still that of the folder which was copied


def change_moments(checkpoint):
    """What steps from here make of the parameters is other than it was."""
    name = next(name for name in checkpoint.arrays if name.endswith("mu.W1"))
    checkpoint.arrays[name] = checkpoint.arrays[name] + np.float32(1e-3)


def test_all_files_of_an_intact_run_are_checked(run):
    files = {str(file.path.relative_to(run)): file.complaint for file in check_files(run)}
    checkpoints = ("best", "step-0000000040", "step-0000000060")
    expected = {f"checkpoints/{name}.safetensors" for name in checkpoints}
    expected |= {"config.json", "metrics.jsonl", "samples.txt", "params.safetensors"}
    assert files == dict.fromkeys(expected)


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
    [complaint] = [file.complaint for file in check_files(run) if file.complaint]
    assert words in complaint


def test_the_last_steps_repeat_from_the_checkpoint_before_them_or_the_first_step(run):
    replayed = replay(run)
    assert (replayed.first, replayed.last, replayed.differing) == (40, 60, [])
    assert replayed.arrays > 15  # the moments of adam, too
    flip("checkpoints/step-0000000040.safetensors")(run)  # a damaged one is none
    assert replay(run)[:2] == (0, 60)
    assert replay(run).differing == []


def test_a_run_that_has_not_ended_repeats_up_to_its_newest_checkpoint(run):
    back_to(run, 40)
    assert replay(run) == (0, 40, replay(run).arrays, [], [])
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match="run has not come to its end; resume it: --resume"):
        replay(run)


def test_steps_that_do_not_repeat_are_named(run):
    """With right checksums everywhere, but from other moments than the run had."""
    reseal(checkpoint_path(run, 40), change_moments)
    replayed = replay(run)
    assert {"C", "W1", "W2"} <= set(replayed.differing)
    assert replayed.elsewhere == []
    reseal(checkpoint_path(run, 60), lambda c: c.record["fingerprint"].update(jaxlib="0.1"))
    assert replay(run).elsewhere[0].startswith("jaxlib 0.1 before")


def test_parameters_of_another_run_do_not_repeat(run):
    params = load_file(run / "params.safetensors")
    params["b2"][0] = np.nextafter(params["b2"][0], np.float32(9))
    save_file(params, run / "params.safetensors")
    assert replay(run).differing == ["b2"]
    save_file(params | {"b2": params["b2"][1:]}, run / "params.safetensors")
    with pytest.raises(InputError, match=r"does not fit config.json: b2 is float32\[\d+\]"):
        replay(run)


def test_an_ensemble_is_verified_by_its_first_member(run):
    """The run is made that of an ensemble here, of itself and of a member that did not repeat."""
    for name in ("params.safetensors", "checkpoints"):
        shutil.move(run / name, run.with_name(name))
    params = load_file("params.safetensors")
    both = {name: np.stack([leaf, leaf + 1]) for name, leaf in params.items()}
    save_file(both, run / "params.safetensors")
    record = json.loads((run / "config.json").read_text())
    record["config"] |= {"seeds": 2}
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"metrics.jsonl does not name the members"):
        replay(run)
    with (run / "metrics.jsonl").open("a") as file:
        for seed in (0, 1):
            print(json.dumps({"seed": seed, "step": 60, "dev_loss": 2.0}), file=file)
        print(json.dumps({"step": 60, "dev_loss": 2.0}), file=file)
    replayed = replay(run)
    assert (replayed.first, replayed.last, replayed.differing) == (0, 60, [])
    record["fingerprint"]["alone"] = False
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="in slices of several members, which repeat to rounding"):
        replay(run)


def test_other_data_cannot_repeat_a_run(run):
    record = json.loads((run / "config.json").read_text())
    Path("other.txt").write_text("and\nother\nlines\n" * 20)
    record["config"]["data"]["data"] = str(Path("other.txt").absolute())
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"other\.txt is not what run was trained on"):
        replay(run)
