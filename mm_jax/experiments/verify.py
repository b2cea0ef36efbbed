"""A run directory -> whether each file is what was written, and whether its last steps repeat.

The last steps are taken once more, from the checkpoint before them or, where there is none, from
the first one; every bit is compared.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mm_jax.config.base import InputError
from mm_jax.config.training import RunConfig
from mm_jax.experiments.setup import load_setup
from mm_jax.runs.checkpoint import (
    CHECKPOINTS,
    Checkpoint,
    checkpoint_path,
    checkpoint_steps,
    deserialize,
    fingerprint_of_run,
    newest_checkpoint,
    open_checkpoint,
    params_of_state,
    read_params,
)
from mm_jax.runs.layout import (
    CONFIG,
    METRICS,
    PARAMS,
    SUMS,
    RunMetadata,
    check_checkpoint_matches,
    check_same_data,
    read_metadata,
)
from mm_jax.runs.metrics import last_line
from mm_jax.runs.named_arrays import check_arrays, from_arrays, spec_of, to_arrays
from mm_jax.runtime.atomic_files import read
from mm_jax.runtime.environment import differences, fingerprint
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import NotFiniteError, fit_chunks


class FileCheck(NamedTuple):
    """One file, and what is wrong with it."""

    path: Path
    complaint: str | None = None


class Replay(NamedTuple):
    """The last steps, taken once more."""

    first: int
    last: int
    arrays: int  # that were compared
    differing: list[str]  # whose bits are others
    elsewhere: list[str]  # what the machine that made them had else


def check_files(path: Path) -> Iterator[FileCheck]:
    """Yield each file with a checksum, of a run or a sweep: those in SHA256SUMS and checkpoints."""
    if (path / SUMS).exists():
        for line in read(path / SUMS).decode("utf-8", "replace").splitlines():
            expected, _, name = line.partition("  ")
            if Path(name).name != name:
                yield FileCheck(path / SUMS, f"{path / SUMS} names {name!r}, no file of the run")
                continue
            file = path / name
            try:
                found = hashlib.sha256(read(file)).hexdigest()
            except InputError as error:
                yield FileCheck(file, str(error))
                continue
            wrong = f"{file} is not what was written: its sha256 is not that in {SUMS}"
            yield FileCheck(file, None if found == expected else wrong)
    for file in sorted((path / CHECKPOINTS).glob("*.safetensors")):
        try:
            deserialize(file, read(file))
        except InputError as error:
            yield FileCheck(file, str(error))
        else:
            yield FileCheck(file)


def replay(path: Path) -> Replay:
    """Take the last steps of a run again, and compare; of an ensemble those of its first member.

    Raises InputError where that cannot be done, and says why.
    """
    metadata, machine = read_metadata(path), fingerprint_of_run(path)
    config = metadata.config
    if not isinstance(config, RunConfig):
        raise InputError(f"{path} was counted: it has no steps to repeat")
    if not machine.get("alone", True):
        raise InputError(
            f"{path} was trained in slices of several members, which repeat to rounding only"
        )
    expected, last = _end(path, config)
    if config.seeds > 1:
        last, seed = _first_member(path)
        if not all(array.shape[:1] > (0,) for array in expected.values()):
            raise InputError(f"{path / PARAMS} holds no members of an ensemble")
        expected = {name: array[0] for name, array in expected.items()}
        config = dataclasses.replace(config, seeds=1, seed=seed)
    arrays, first = _take(path, metadata, config, last)
    found = params_of_state(arrays)
    check_arrays(expected, found, str(path), CONFIG)
    differing = [name for name in found if not _same(found[name], expected[name])]
    count = len(found)
    if last in checkpoint_steps(path):
        kept = open_checkpoint(checkpoint_path(path, last)).arrays
        kept.pop("pending")
        check_arrays(kept, arrays, str(checkpoint_path(path, last)), CONFIG)
        differing += [name for name in arrays if not _same(arrays[name], kept[name])]
        count += len(arrays)
    return Replay(first, last, count, differing, list(differences(machine, fingerprint())))


def _end(path: Path, config: RunConfig) -> tuple[dict[str, np.ndarray], int]:
    """Return the parameters that a run has come to, and after how many steps."""
    if (path / PARAMS).exists():
        step = last_line(path / METRICS).get("step")
        if not isinstance(step, int) or not 0 <= step <= config.steps:
            raise InputError(f"{path / METRICS} does not say after how many steps training ended")
        return read_params(path / PARAMS), step
    found = newest_checkpoint(path, lambda _: None) if config.seeds == 1 else None
    if found is None:
        raise InputError(f"{path} has not come to its end; go on with it: --resume")
    return params_of_state(found.arrays), found.step


def _first_member(path: Path) -> tuple[int, int]:
    """Return the steps and the seed of the first member of an ensemble."""
    for line in read(path / METRICS).splitlines():
        try:
            found = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path / METRICS} is damaged: {error}") from None
        if isinstance(found, dict) and found.keys() >= {"seed", "dev_loss", "step"}:
            return found["step"], found["seed"]
    raise InputError(f"{path / METRICS} does not name the members")


def _take(
    path: Path, metadata: RunMetadata, config: RunConfig, last: int
) -> tuple[dict[str, np.ndarray], int]:
    """Return the state after step ``last``, and from where on it was trained."""
    optimizer = make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer)
    check_same_data(path, metadata, setup.dataset.record, setup.vocab.symbols)
    state = setup.initial_state(optimizer)
    before = _before(path, last)
    if before is not None:
        check_checkpoint_matches(path, metadata, before.path, before.record)
        before.arrays.pop("pending")
        shape = spec_of(lambda: state)
        check_arrays(before.arrays, shape.leaves, str(before.path), CONFIG)
        state = from_arrays(before.arrays, shape)
    first = int(state.step)
    try:
        for after, _ in fit_chunks(
            setup.model,
            optimizer,
            state,
            setup.data,
            num_steps=last,
            batch_size=setup.batch_size,
        ):
            state = after
    except NotFiniteError as error:
        raise InputError(f"{path} does not repeat: {error}") from None
    return to_arrays(state), first


def _before(path: Path, last: int) -> Checkpoint | None:
    for step in checkpoint_steps(path):
        if step < last:
            try:
                return open_checkpoint(checkpoint_path(path, step))
            except InputError:
                continue
    return None


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.tobytes() == other.tobytes()
