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
from mm_jax.experiments.setup import load_task
from mm_jax.runs.checkpoint import (
    CHECKPOINTS,
    Checkpoint,
    made_on,
    newest,
    open_checkpoint,
    params_in,
    path_of,
    read_params,
    steps_of,
    unseal,
)
from mm_jax.runs.layout import (
    CONFIG,
    METRICS,
    PARAMS,
    SUMS,
    Stored,
    check_data,
    check_fits,
    read_config,
)
from mm_jax.runs.metrics import last_line
from mm_jax.runs.named_arrays import check_arrays, from_arrays, shape_of, to_arrays
from mm_jax.runtime.atomic_files import read
from mm_jax.runtime.environment import differences, fingerprint
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import NotFiniteError, fit_chunks


class File(NamedTuple):
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


def check_files(path: Path) -> Iterator[File]:
    """Yield each file with a checksum, of a run or a sweep: those in SHA256SUMS and checkpoints."""
    if (path / SUMS).exists():
        for line in read(path / SUMS).decode("utf-8", "replace").splitlines():
            expected, _, name = line.partition("  ")
            if Path(name).name != name:
                yield File(path / SUMS, f"{path / SUMS} names {name!r}, no file of the run")
                continue
            file = path / name
            try:
                found = hashlib.sha256(read(file)).hexdigest()
            except InputError as error:
                yield File(file, str(error))
                continue
            wrong = f"{file} is not what was written: its sha256 is not that in {SUMS}"
            yield File(file, None if found == expected else wrong)
    for file in sorted((path / CHECKPOINTS).glob("*.safetensors")):
        try:
            unseal(file, read(file))
        except InputError as error:
            yield File(file, str(error))
        else:
            yield File(file)


def replay(path: Path) -> Replay:
    """Take the last steps of a run again, and compare; of an ensemble those of its first member.

    Raises InputError where that cannot be done, and says why.
    """
    stored, machine = read_config(path), made_on(path)
    config = stored.config
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
    arrays, first = _take(path, stored, config, last)
    found = params_in(arrays)
    check_arrays(expected, found, str(path), CONFIG)
    differing = [name for name in found if not _same(found[name], expected[name])]
    count = len(found)
    if last in steps_of(path):
        kept = open_checkpoint(path_of(path, last)).arrays
        kept.pop("pending")
        check_arrays(kept, arrays, str(path_of(path, last)), CONFIG)
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
    found = newest(path, lambda _: None) if config.seeds == 1 else None
    if found is None:
        raise InputError(f"{path} has not come to its end; go on with it: --resume")
    return params_in(found.arrays), found.step


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
    path: Path, stored: Stored, config: RunConfig, last: int
) -> tuple[dict[str, np.ndarray], int]:
    """Return the state after step ``last``, and from where on it was trained."""
    optimizer = make_optimizer(config.optimizer, config.steps)
    task = load_task(config, optimizer)
    check_data(path, stored, task.source.record, task.vocab.symbols)
    state = task.begin_whole(optimizer)
    before = _before(path, last)
    if before is not None:
        check_fits(path, stored, before.path, before.record)
        before.arrays.pop("pending")
        shape = shape_of(lambda: state)
        check_arrays(before.arrays, shape.leaves, str(before.path), CONFIG)
        state = from_arrays(before.arrays, shape)
    first = int(state.step)
    try:
        for after, _ in fit_chunks(
            task.model,
            optimizer,
            state,
            task.data,
            num_steps=last,
            batch_size=task.batch_size,
        ):
            state = after
    except NotFiniteError as error:
        raise InputError(f"{path} does not repeat: {error}") from None
    return to_arrays(state), first


def _before(path: Path, last: int) -> Checkpoint | None:
    for step in steps_of(path):
        if step < last:
            try:
                return open_checkpoint(path_of(path, step))
            except InputError:
                continue
    return None


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.tobytes() == other.tobytes()
