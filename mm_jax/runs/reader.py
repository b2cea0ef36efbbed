"""A run directory, read: by any number of processes, also while another one trains.

Until params.safetensors, which comes last, is written, the newest checkpoint is read. Reading a run
needs neither the flags that it was made with nor, unless a loss is asked for, its data file.
"""

import datetime
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import AnyConfig, RunConfig
from mm_jax.data.dataset import Dataset, load_dataset
from mm_jax.data.samples import Samples, SampleShape, from_text, sample_shape
from mm_jax.data.streaming import Stream, unreadable
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params, num_params
from mm_jax.runs.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    open_checkpoint,
    params_of_state,
    read_params,
)
from mm_jax.runs.layout import (
    CONFIG,
    PARAMS,
    SAMPLES,
    TEST_LOOKS,
    UNMARKED,
    RunMetadata,
    metadata_from_record,
    read_metadata,
)
from mm_jax.runs.population_checkpoints import finished_members
from mm_jax.runs.stored_models import num_members_of, stored_model
from mm_jax.runs.writer import append_lines
from mm_jax.runtime.paths import find_data


class Run(NamedTuple):
    """A trained model and what is needed to use it."""

    path: Path
    config: AnyConfig
    vocab: Vocab
    model: Model
    params: Params
    data: dict[str, Any]  # path, sha256 and counts of the file it was trained on
    step: int | None = None  # of the checkpoint that was read, where training has not ended

    @property
    def sample_shape(self) -> SampleShape:
        """How long lines that it makes are by default."""
        longest = self.data.get("longest")
        known = isinstance(longest, int) and longest >= 0
        shape = sample_shape(self.config.data.items, longest if known else None)
        return shape.within(self.model.max_len)

    @property
    def folder(self) -> Path:
        """The run directory, also where ``path`` is a checkpoint in one."""
        return self.path if self.path.is_dir() else self.path.absolute().parents[1]


def count_test_evaluation(path: Path, loss_nats: float) -> int:
    """Record an evaluation on the test split; return how many there are, this one included."""
    if not (path / CONFIG).exists():
        raise InputError(f"{path} is no run directory: a look at the test split cannot be counted")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    append_lines(path / TEST_LOOKS, [{"time": now, "loss": loss_nats}])
    return len((path / TEST_LOOKS).read_text().splitlines())


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run directory, or a checkpoint in one.

    Of a run in training, or stopped, it is the newest checkpoint that is whole, and of an ensemble
    those members that are; ``step`` says so. Raises InputError where there is no such thing.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".safetensors":
        return _load_checkpoint(path)
    if not path.is_dir():
        problem = "is not a run directory but a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {problem}")
    if not (path / CONFIG).exists():
        if (path / "best" / CONFIG).exists():
            raise InputError(f"{path} is a sweep; its best run is {path / 'best'}")
        raise InputError(f"{path} is not a run directory: it has no {CONFIG}")
    metadata = read_metadata(path)
    if not (path / PARAMS).exists():
        return _load_unfinished(path, metadata)
    arrays = read_params(path / PARAMS)
    return _build_run(path, metadata, arrays, path / PARAMS, num_members_of(arrays))


def _load_checkpoint(path: Path) -> Run:
    checkpoint = open_checkpoint(path)
    try:
        metadata = metadata_from_record({"format": UNMARKED, **checkpoint.record})
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a checkpoint of a run: {error}") from None
    return _from_checkpoint(path, metadata, checkpoint)


def _load_unfinished(path: Path, metadata: RunMetadata) -> Run:
    config = metadata.config
    if isinstance(config, RunConfig) and config.seeds > 1:
        arrays, count = finished_members(path, config.steps)
        if count:
            return _build_run(path, metadata, arrays, path, count, config.steps)
    else:
        checkpoint = newest_checkpoint(path, lambda _: None)
        if checkpoint is not None:
            return _from_checkpoint(path, metadata, checkpoint)
    raise InputError(
        f"{path} is half-written: it has no {PARAMS}, and no checkpoint yet; its making did not end"
    )


def _from_checkpoint(path: Path, metadata: RunMetadata, checkpoint: Checkpoint) -> Run:
    arrays = params_of_state(checkpoint.arrays)
    return _build_run(path, metadata, arrays, checkpoint.path, 1, checkpoint.step)


def _build_run(
    path: Path,
    metadata: RunMetadata,
    arrays: dict[str, np.ndarray],
    file: Path,
    num_members: int,
    step: int | None = None,
) -> Run:
    """Return the run with ``arrays``, which come from ``file``. Raises InputError."""
    config = metadata.config
    model, params = stored_model(config, len(metadata.symbols), arrays, file, num_members)
    data = config.data
    choices = data.unit, data.lower, data.merge_numbers, data.sentence_ends
    vocab = Vocab(metadata.symbols, *choices)
    return Run(path, config, vocab, model, params, metadata.data, step)


def read_samples(folder: Path, config: AnyConfig) -> Samples:
    """Return the samples that are kept with a run. Raises InputError where they cannot be read."""
    try:
        text = (folder / SAMPLES).read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / SAMPLES}: {error}") from None
    return from_text(text, config.data)


def unfinished_note(run: Run) -> str | None:
    """Return that a run has not come to its end, and what is used of it; None where it has."""
    if run.step is None or run.path.is_file():
        return None
    return f"{run.path} has not come to its end: this is what there is after step {run.step:,}"


def describe(run: Run) -> dict[str, Any]:
    """Return what every command that reads a run reports of it in --json."""
    step = {} if run.step is None else {"step": run.step}
    return {
        "config": to_dict(run.config),
        "vocab_size": len(run.vocab),
        "num_params": num_params(run.params),
        "run_dir": str(run.path),
        **step,
    }


def run_dataset(run: Run) -> Dataset:
    """Read the data that a run was trained on. Raises InputError where the file has changed."""
    path = find_data(run.config.data.data)
    try:
        is_special = path.exists() and not path.is_file()
    except OSError as error:
        raise unreadable(path, error) from None
    if is_special:
        raise InputError(f"{path} is no regular file: what {run.path} was made from is gone")
    changed = InputError(f"{path} has changed since {run.path} was trained on it")
    try:
        dataset = load_dataset(run.config.data, run.vocab)
    except InputError:
        if path.is_file() and Stream(run.config.data).sha256() != run.data["sha256"]:
            raise changed from None
        raise
    if dataset.info.sha256 != run.data["sha256"]:
        raise changed
    return dataset
