"""A checkpoint: whole or not there, whatever happens while it is written or to its file."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load_file, save

from mm_jax.config.base import InputError
from mm_jax.runs.checkpoint import (
    Checkpoint,
    DamagedError,
    checkpoint_path,
    checkpoint_steps,
    decode,
    encode,
    newest_checkpoint,
    open_checkpoint,
    raise_damaged,
    read_params,
    remove_partial_files,
    save_checkpoint,
)
from tests.system import faults

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


def test_what_is_sealed_is_what_is_unsealed():
    arrays, record = decode(HERE, encode(ARRAYS, RECORD))
    assert same(arrays, ARRAYS)
    assert {name: record[name] for name in RECORD} == RECORD


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
    found, told = decode(HERE, encode(arrays, record))
    assert same(found, arrays)
    assert {name: told[name] for name in record} == record


def test_the_same_content_gives_the_same_bytes():
    code = "from tests.runs.test_checkpoint import *; print(encode(ARRAYS, RECORD).hex())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert bytes.fromhex(found.stdout) == encode(ARRAYS, RECORD)


def test_any_program_can_read_a_checkpoint(tmp_path):
    path = save_checkpoint(tmp_path, 7, ARRAYS, {})
    assert same(load_file(path), ARRAYS)


# Damage


MAX_FLOAT = {"params.W": np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)}


def test_a_file_that_is_cut_anywhere_is_damaged():
    whole = encode(MAX_FLOAT, RECORD)
    sizes = [*range(0, len(whole), 4096), *range(200), len(whole) - 1]
    assert len(sizes) > 280
    for size in sizes:
        with pytest.raises(DamagedError, match="is damaged"):
            decode(HERE, whole[:size])


def test_a_file_that_goes_on_is_damaged():
    for more in (b"\0", b"a" * 4096):
        with pytest.raises(DamagedError, match="is damaged"):
            decode(HERE, encode(MAX_FLOAT, RECORD) + more)


def test_any_bit_that_is_flipped_is_noticed():
    whole, source = encode(ARRAYS, RECORD), random.Random(0)
    bits = range(8 * len(whole))  # of a small file each one, of a large one some
    large = encode(MAX_FLOAT, RECORD)
    cases = [(whole, bit) for bit in bits]
    cases += [(large, source.randrange(8 * len(large))) for _ in range(300)]
    for data, bit in cases:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError, match="is damaged"):
            decode(HERE, bytes(flipped))


def test_a_block_that_is_zeroed_or_moved_is_noticed():
    whole = encode(MAX_FLOAT, RECORD)
    for first in range(0, len(whole) - 8192, 4096):
        zeroed = whole[:first] + bytes(4096) + whole[first + 4096 :]
        moved = whole[:first] + whole[first + 4096 : first + 8192] + whole[first : first + 4096]
        for data in (zeroed, moved + whole[first + 8192 :]):
            with pytest.raises(DamagedError, match="is damaged"):
                decode(HERE, data)


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


def reports(run):
    said = []
    found = newest_checkpoint(run, said.append)
    return found and found.step, said


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
    step, said = reports(tmp_path)
    assert step == 5
    assert [str(error) for error in said] == [
        f"{checkpoint_path(tmp_path, 10)} is damaged: it is cut short"
    ]
    with pytest.raises(DamagedError, match="step-0000000010"):
        newest_checkpoint(tmp_path, raise_damaged)
    save_checkpoint(tmp_path, 8, ARRAYS, {})  # training went on from 5
    assert checkpoint_steps(tmp_path) == [8, 5]
    for step in (5, 8):
        checkpoint_path(tmp_path, step).write_bytes(b"")
    assert reports(tmp_path)[0] is None


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


# Faults


@pytest.mark.parametrize("mode", ["kill", "ENOSPC", "EIO"])
def test_a_fault_at_any_file_operation_leaves_the_old_or_the_new_one(mode, tmp_path):
    script = [sys.executable, faults.__file__, mode, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    untouched = [case for case in cases if case["code"] == 0 and case["reached"] is None]
    assert [each["before"] for each in untouched] == [[], [1], [2]]
    for case in untouched:
        assert (case["complaint"], case["after"]) == (None, [3, 3.0])
        cases.remove(case)
    assert len(cases) > 30
    steps = set()
    for case in cases:
        assert case["code"] == (-9 if mode == "kill" else 0)
        old = [case["before"][0], float(case["before"][0])] if case["before"] else None
        assert case["after"] in (old, [3, 3.0]), case
        assert case["then"] == 4
        assert not [name for name in case["files"] if name.endswith(".part")]
        steps.add(case["after"] == [3, 3.0])
        if mode != "kill" and case["complaint"] is not None:
            assert case["complaint"].startswith("cannot "), case
            assert "\n" not in case["complaint"]
            words = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}
            assert words[mode] in case["complaint"]
    assert steps == {True, False}  # before the rename and after it
