"""A checkpoint: whole or not there, whatever happens while it is written or to its file."""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load_file, save

from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import RunConfig
from mm_jax.runs import checkpoint
from mm_jax.runs.checkpoint import (
    Checkpoint,
    DamagedError,
    checkpoint_path,
    checkpoint_steps,
    deserialize,
    fingerprint_of_run,
    newest_checkpoint,
    open_checkpoint,
    params_of_state,
    raise_damaged,
    read_params,
    remove_partial_files,
    save_checkpoint,
    serialize,
)
from mm_jax.runtime import atomic_files
from tests.system import faults

ROOT = Path(__file__).parents[2]
HERE = Path("somewhere.safetensors")
ARRAYS = {
    "params.C": np.arange(12, dtype=np.float32).reshape(3, 4),
    "key": np.array([1, 2**32 - 1], np.uint32),
    "step": np.array(7, np.int32),
    "pending": np.zeros(0, np.float32),
}
RECORD = {"step": 7, "config": {"text": 'a "quote", \u2028 and \x00'}, "loss": 0.1}


def same(one, other):
    return one.keys() == other.keys() and all(
        (one[name].dtype, one[name].shape, one[name].tobytes())
        == (other[name].dtype, other[name].shape, other[name].tobytes())
        for name in one
    )


def test_arrays_and_record_come_back():
    arrays, record = deserialize(HERE, serialize(ARRAYS, RECORD))
    assert same(arrays, ARRAYS)
    assert {name: record[name] for name in RECORD} == RECORD


@hypothesis.settings(max_examples=20)
@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9),
        arrays_of.arrays(
            st.sampled_from([np.float32, np.int32, np.uint32, np.float64]),
            arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=5,
    ),
    st.dictionaries(st.text(max_size=9), st.text(max_size=99) | st.integers(), max_size=4),
)
def test_any_arrays_and_any_record_come_back(arrays, record):
    record.pop("sha256", None)
    found, told = deserialize(HERE, serialize(arrays, record))
    assert same(found, arrays)
    assert {name: told[name] for name in record} == record


def test_the_same_content_gives_the_same_bytes():
    """Also in another process, whose sets and tables have another order."""
    code = """if True:
        import numpy as np
        from mm_jax.runs.checkpoint import serialize
        arrays = {name: np.arange(6, dtype=np.float32) for name in ("b", "a", "c.d")}
        print(serialize(arrays, {"symbols": [".", "a"], "step": 7}).hex())"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        for seed in ("1", "2")
    ]
    arrays = {name: np.arange(6, dtype=np.float32) for name in ("b", "a", "c.d")}
    expected = serialize(arrays, {"symbols": [".", "a"], "step": 7})
    assert [bytes.fromhex(run.stdout) for run in runs] == [expected] * 2


def test_any_program_can_read_a_checkpoint(tmp_path):
    path = save_checkpoint(tmp_path, 7, ARRAYS, {})
    assert same(load_file(path), ARRAYS)


# Damage


LARGE = {"params.W": np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)}


def test_a_file_that_is_cut_anywhere_is_damaged():
    whole = serialize(LARGE, RECORD)
    sizes = [*range(0, len(whole), 4096), *range(200), len(whole) - 1]
    assert len(sizes) > 280
    for size in sizes:
        with pytest.raises(DamagedError, match="is damaged"):
            deserialize(HERE, whole[:size])


def test_a_file_with_bytes_after_its_end_is_damaged():
    for more in (b"\0", b"a" * 4096):
        with pytest.raises(DamagedError, match="is damaged"):
            deserialize(HERE, serialize(LARGE, RECORD) + more)


def test_any_bit_that_is_flipped_is_noticed():
    whole, source = serialize(ARRAYS, RECORD), random.Random(0)
    bits = range(8 * len(whole))  # of a small file each one, of a large one some
    large = serialize(LARGE, RECORD)
    cases = [(whole, bit) for bit in bits]
    cases += [(large, source.randrange(8 * len(large))) for _ in range(300)]
    for data, bit in cases:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError, match="is damaged"):
            deserialize(HERE, bytes(flipped))


def test_a_block_that_is_zeroed_or_moved_is_noticed():
    whole = serialize(LARGE, RECORD)
    for first in range(0, len(whole) - 8192, 4096):
        zeroed = whole[:first] + bytes(4096) + whole[first + 4096 :]
        moved = whole[:first] + whole[first + 4096 : first + 8192] + whole[first : first + 4096]
        for data in (zeroed, moved + whole[first + 8192 :]):
            with pytest.raises(DamagedError, match="is damaged"):
                deserialize(HERE, data)


def test_a_header_that_claims_two_gigabytes_is_no_header(tmp_path):
    path = tmp_path / "params.safetensors"
    path.write_bytes((2 * 10**9).to_bytes(8, "little") + b"{" + b" " * 99)
    for read in (open_checkpoint, read_params):
        with pytest.raises(InputError, match=r"params\.safetensors is damaged"):
            read(path)


def test_a_file_of_another_program_is_no_checkpoint_and_may_be_parameters(tmp_path):
    path = tmp_path / "params.safetensors"
    path.write_bytes(save(ARRAYS, metadata={"format": "pt"}))
    assert same(read_params(path), ARRAYS)
    with pytest.raises(DamagedError, match="it has no checksum"):
        open_checkpoint(path)


# The newest two


def newest_and_damaged(run):
    damaged = []
    found = newest_checkpoint(run, damaged.append)
    return found and found.step, damaged


def test_the_two_newest_are_kept(tmp_path):
    for step in (5, 10, 15, 2**31 - 1):
        save_checkpoint(tmp_path, step, ARRAYS, {})
    assert checkpoint_steps(tmp_path) == [2**31 - 1, 15]
    found = newest_checkpoint(tmp_path, raise_damaged)
    assert isinstance(found, Checkpoint)
    assert found.step == 2**31 - 1


def test_of_a_damaged_one_the_one_before_is_used_and_it_is_said(tmp_path):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, ARRAYS, {})
    checkpoint_path(tmp_path, 10).write_bytes(b"nonsense")
    step, damaged = newest_and_damaged(tmp_path)
    assert step == 5
    assert [str(error) for error in damaged] == [
        f"{checkpoint_path(tmp_path, 10)} is damaged: it is cut short"
    ]
    with pytest.raises(DamagedError, match="step-0000000010"):
        newest_checkpoint(tmp_path, raise_damaged)
    save_checkpoint(tmp_path, 8, ARRAYS, {})  # training went on from 5
    assert checkpoint_steps(tmp_path) == [8, 5]
    for step in (5, 8):
        checkpoint_path(tmp_path, step).write_bytes(b"")
    assert newest_and_damaged(tmp_path)[0] is None


def test_other_files_are_left_alone(tmp_path):
    save_checkpoint(tmp_path, 1, ARRAYS, {})
    for name in ("best.safetensors", "step-x.safetensors", "notes.txt"):
        (tmp_path / "checkpoints" / name).write_text("mine")
    (tmp_path / "checkpoints" / "step-0000000009.safetensors.part").write_text("half")
    remove_partial_files(tmp_path)
    save_checkpoint(tmp_path, 2, ARRAYS, {})
    assert checkpoint_steps(tmp_path) == [2, 1]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.safetensors",
        "notes.txt",
        "step-0000000001.safetensors",
        "step-0000000002.safetensors",
        "step-x.safetensors",
    ]


def test_a_checkpoint_names_its_step(tmp_path):
    path = save_checkpoint(tmp_path, 7, ARRAYS, {"step": "many"})
    with pytest.raises(DamagedError, match="it names no step"):
        open_checkpoint(path)


def test_one_that_is_removed_while_it_is_read_is_passed_over(tmp_path, monkeypatch):
    """As another process does, which keeps the two newest."""
    for step in (5, 10):
        save_checkpoint(tmp_path, step, ARRAYS, {})
    real = checkpoint.read

    def read(path):
        if path == checkpoint_path(tmp_path, 10):
            path.unlink()
        return real(path)

    monkeypatch.setattr(checkpoint, "read", read)
    assert newest_checkpoint(tmp_path, raise_damaged).step == 5
    (tmp_path / "checkpoints" / "step-0000000010.safetensors").mkdir()
    monkeypatch.setattr(checkpoint, "read", real)
    with pytest.raises(InputError, match=r"cannot read .*step-0000000010"):
        newest_checkpoint(tmp_path, raise_damaged)


def test_the_model_of_a_state_is_its_average_where_one_is_kept():
    state = {"params.W": 1, "params.b": 2, "opt_state.0.count": 3, "step": 4}
    assert params_of_state(state) == {"W": 1, "b": 2}
    average = {"average.W": 5, "average.b": 6, "average_decay": 7}
    assert params_of_state(state | average) == {"W": 5, "b": 6}


def test_the_fingerprint_of_a_run_is_that_of_its_last_steps(tmp_path):
    config = to_dict(RunConfig())
    record = {"format": 3, "config": config, "symbols": [".", "a"], "data": {"sha256": "0"}}
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert fingerprint_of_run(tmp_path) == {}
    record["fingerprint"] = {"jax": "1"}
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert fingerprint_of_run(tmp_path) == {"jax": "1"}
    save_checkpoint(tmp_path, 1, ARRAYS, {"fingerprint": {"jax": "2"}})
    assert fingerprint_of_run(tmp_path) == {"jax": "2"}


# Faults


@pytest.mark.parametrize("num_before", [0, 1, 2])
@pytest.mark.parametrize("mode", ["ENOSPC", "EIO"])
def test_an_error_at_any_file_operation_leaves_the_old_or_the_new_one(
    mode, num_before, tmp_path, monkeypatch
):
    ends = []
    for number in range(1, 100):
        run = tmp_path / str(number)
        run.mkdir()
        for step in (1, 2)[:num_before]:
            save_checkpoint(run, step, faults.arrays_of(step), {})
        faulty, complaint = faults.Faulty(number, mode), None
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "os", faulty)
            try:
                save_checkpoint(run, 3, faults.arrays_of(3), {})
            except InputError as error:
                complaint = str(error)
        ends.append(faults.newest(run))
        if faulty.reached is None:
            break
        if complaint is not None:
            assert complaint.startswith("cannot ")
            assert complaint.endswith(os.strerror(getattr(errno, mode)))
            assert "\n" not in complaint
        remove_partial_files(run)
        save_checkpoint(run, 4, faults.arrays_of(4), {})
        assert faults.newest(run) == 4
        assert not list(run.rglob("*.part"))
    assert (complaint, ends[-1]) == (None, 3)
    assert len(ends) > 8
    old = num_before or None
    assert sorted(set(ends), key=str) == sorted([old, 3], key=str)  # before the rename and after it


def test_a_kill_at_any_file_operation_leaves_the_old_or_the_new_one(tmp_path):
    script = [sys.executable, "-m", "tests.system.faults", str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=300, cwd=ROOT)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    untouched = [case for case in cases if case["code"] == 0]
    assert [case["before"] for case in untouched] == [None, 1, 2]
    assert len(cases) > 30
    for case in cases:
        assert case["code"] == (0 if case in untouched else -9)
        assert case["after"] in ([3] if case in untouched else [case["before"], 3]), case
        assert case["last"] == 4
        assert not [name for name in case["files"] if name.endswith(".part")]
    killed = [case["after"] == 3 for case in cases if case["code"] == -9]
    assert set(killed) == {True, False}  # before the rename and after it
