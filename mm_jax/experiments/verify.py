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
from mm_jax.training.state import TrainState
from mm_jax.training.step import NotFiniteError, fit_chunks


class FileCheck(NamedTuple):
    """One file, and what is wrong with it."""

    path: Path
    complaint: str | None = None


class Replay(NamedTuple):
    """The last steps of a run, taken once more; its fields are keys of ``mm-jax verify --json``."""

    first: int
    last: int
    arrays: int  # that were compared
    differing: list[str]  # the names of those with other bits
    elsewhere: list[str]  # how the machine of the run differs from this one


def check_files(path: Path) -> Iterator[FileCheck]:
    """Yield each file with a checksum, of a run or a sweep: those in SHA256SUMS and checkpoints."""
    if (path / SUMS).exists():
        for line in read(path / SUMS).decode("utf-8", "replace").splitlines():
            yield _check_line(path, line)
    for file in sorted((path / CHECKPOINTS).glob("*.safetensors")):
        try:
            deserialize(file, read(file))
        except InputError as error:
            yield FileCheck(file, str(error))
        else:
            yield FileCheck(file)


def _check_line(path: Path, line: str) -> FileCheck:
    """Check the file that a line of SHA256SUMS names."""
    expected, _, name = line.partition("  ")
    if Path(name).name != name:
        return FileCheck(path / SUMS, f"{path / SUMS} names {name!r}, no file of the run")
    file = path / name
    try:
        actual = hashlib.sha256(read(file)).hexdigest()
    except InputError as error:
        return FileCheck(file, str(error))
    complaint = f"{file} is not what was written: its sha256 is not that in {SUMS}"
    return FileCheck(file, None if actual == expected else complaint)


def replay(path: Path) -> Replay:
    """Take the last steps of a run again, and compare; of an ensemble those of its first member.

    Raises InputError, with the reason, where that cannot be done.
    """
    metadata, machine = read_metadata(path), fingerprint_of_run(path)
    config = metadata.config
    if not isinstance(config, RunConfig):
        raise InputError(f"{path} was not trained: it has no steps to repeat")
    if not machine.get("alone", True):
        raise InputError(
            f"{path} was trained in slices of several members, which repeat to rounding only"
        )
    expected, last = _trained_params(path, config)
    if config.seeds > 1:
        last, seed = _first_member(path)
        if not all(array.shape[:1] > (0,) for array in expected.values()):
            raise InputError(f"{path / PARAMS} holds no members of an ensemble")
        expected = {name: array[0] for name, array in expected.items()}
        config = dataclasses.replace(config, seeds=1, seed=seed)
    arrays, first = _retrain(path, metadata, config, last)
    params = params_of_state(arrays)
    differing = _differing(params, expected, path)
    num_compared = len(params)
    if last in checkpoint_steps(path):
        file = checkpoint_path(path, last)
        saved = open_checkpoint(file).arrays
        saved.pop("pending")
        differing += _differing(arrays, saved, file)
        num_compared += len(arrays)
    elsewhere = list(differences(machine, fingerprint()))
    return Replay(first, last, num_compared, differing, elsewhere)


def _differing(
    repeated: dict[str, np.ndarray], expected: dict[str, np.ndarray], file: Path
) -> list[str]:
    """Return the names of arrays with other bits; raise InputError for other names or shapes."""
    check_arrays(expected, repeated, str(file), CONFIG)
    return [name for name in repeated if repeated[name].tobytes() != expected[name].tobytes()]


def _trained_params(path: Path, config: RunConfig) -> tuple[dict[str, np.ndarray], int]:
    """Return the parameters that a run has reached, and after how many steps."""
    if (path / PARAMS).exists():
        step = last_line(path / METRICS).get("step")
        if not isinstance(step, int) or not 0 <= step <= config.steps:
            raise InputError(f"{path / METRICS} does not say after how many steps training ended")
        return read_params(path / PARAMS), step
    newest = newest_checkpoint(path, lambda _: None) if config.seeds == 1 else None
    if newest is None:
        raise InputError(f"{path} has not come to its end; resume it: --resume")
    return params_of_state(newest.arrays), newest.step


def _first_member(path: Path) -> tuple[int, int]:
    """Return the steps and the seed of the first member of an ensemble."""
    for text in read(path / METRICS).splitlines():
        try:
            line = json.loads(text)
        except ValueError as error:
            raise InputError(f"{path / METRICS} is damaged: {error}") from None
        if isinstance(line, dict) and line.keys() >= {"seed", "dev_loss", "step"}:
            return line["step"], line["seed"]
    raise InputError(f"{path / METRICS} does not name the members")


def _retrain(
    path: Path, metadata: RunMetadata, config: RunConfig, last: int
) -> tuple[dict[str, np.ndarray], int]:
    """Train until step ``last``; return the arrays of the state, and the step it began with."""
    optimizer = make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer)
    check_same_data(path, metadata, setup.dataset.record, setup.vocab.symbols)
    state = setup.initial_state(optimizer)
    checkpoint = _checkpoint_before(path, last)
    if checkpoint is not None:
        state = _restored(path, metadata, checkpoint, state)
    first = int(state.step)
    chunks = fit_chunks(
        setup.model, optimizer, state, setup.data, num_steps=last, batch_size=setup.batch_size
    )
    try:
        for after, _ in chunks:
            state = after
    except NotFiniteError as error:
        raise InputError(f"{path} does not repeat: {error}") from None
    return to_arrays(state), first


def _checkpoint_before(path: Path, last: int) -> Checkpoint | None:
    for step in checkpoint_steps(path):
        if step < last:
            try:
                return open_checkpoint(checkpoint_path(path, step))
            except InputError:
                continue  # check_files reports it
    return None


def _restored(
    path: Path, metadata: RunMetadata, checkpoint: Checkpoint, like: TrainState
) -> TrainState:
    check_checkpoint_matches(path, metadata, checkpoint.path, checkpoint.record)
    checkpoint.arrays.pop("pending")
    spec = spec_of(lambda: like)
    check_arrays(checkpoint.arrays, spec.leaves, str(checkpoint.path), CONFIG)
    return from_arrays(checkpoint.arrays, spec)
