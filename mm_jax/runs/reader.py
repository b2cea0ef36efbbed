"""A run directory, read: by any number of processes, also while another one trains.

Until params.safetensors, which comes last, is written, the newest checkpoint is read. Reading a run
needs neither the flags that it was made with nor, unless a loss is asked for, its data file.
"""

import datetime
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import AnyConfig, CountConfig, MixConfig, RunConfig
from mm_jax.data.dataset import Dataset, load_dataset
from mm_jax.data.samples import Samples, SampleShape, from_text, sample_shape
from mm_jax.data.streaming import Stream, unreadable
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params, num_params
from mm_jax.models.ensemble import ensemble
from mm_jax.models.good_turing import good_turing, unusable_tree
from mm_jax.models.mixture import mixture, mixture_params
from mm_jax.models.registry import build_model
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
from mm_jax.runs.named_arrays import check_arrays
from mm_jax.runs.population_checkpoints import finished_members
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
    return _build_run(path, metadata, arrays, path / PARAMS, _num_members(arrays))


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


def _num_members(arrays: dict[str, np.ndarray]) -> int:
    """Return how many members of an ensemble a file holds: all of them, or those that trained."""
    shapes = [array.shape for array in arrays.values()]
    return shapes[0][0] if shapes and shapes[0] else 0


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
    if isinstance(config, MixConfig):
        model, params = _mixed(config, len(metadata.symbols), arrays, file)
    else:
        model, params = _single(config, len(metadata.symbols), arrays, file, num_members)
    vocab = Vocab(metadata.symbols, config.data.unit, config.data.lower)
    return Run(path, config, vocab, model, params, metadata.data, step)


def _single(
    config: RunConfig | CountConfig,
    vocab_size: int,
    arrays: dict[str, np.ndarray],
    file: Path,
    num_members: int,
) -> tuple[Model, Params]:
    """Return the model of a run, of several seeds their ensemble, and its parameters."""
    model = build_model(config.model, vocab_size)
    if isinstance(config, RunConfig) and config.seeds > 1:
        if not num_members:
            raise InputError(f"{file} holds no members of an ensemble")
        model = ensemble(model, num_members)
    return model, _checked_params(arrays, file, model)


def _mixed(
    config: MixConfig, vocab_size: int, arrays: dict[str, np.ndarray], file: Path
) -> tuple[Model, Params]:
    """Return what a run of several runs is, and its parameters."""
    if not config.model.good_turing:
        return _mixture(config, vocab_size, arrays, file)
    inner, tree = _taken(arrays, "model."), _taken(arrays, "tree.")
    model, params = _mixture(config, vocab_size, inner, file)
    if problem := unusable_tree(tree, vocab_size):
        raise InputError(f"{file} does not fit {CONFIG}: {problem}")
    for name in arrays:
        raise InputError(f"{file} does not fit {CONFIG}: {name} is unknown")
    return good_turing(model), {"model": params, "tree": jax.tree.map(jnp.asarray, tree)}


def _mixture(
    config: MixConfig, vocab_size: int, arrays: dict[str, np.ndarray], file: Path
) -> tuple[Model, Params]:
    """Return the mixture of the models of several runs, and its parameters."""
    weights, num = arrays.pop("weights", np.zeros(0)), len(config.runs)
    if weights.shape != (num,) or not np.isfinite(weights).all() or weights.min() < 0:
        raise InputError(
            f"{file} does not fit {CONFIG}: weights are not {num} numbers of 0 or more"
        )
    models, members = [], []
    for i, run in enumerate(config.runs):
        own = _taken(arrays, f"members.{i}.")
        if isinstance(run, MixConfig):
            model, params = _mixed(run, vocab_size, own, file)
        else:
            model, params = _single(run, vocab_size, own, file, _num_members(own))
        models.append(model)
        members.append(params)
    for name in arrays:
        raise InputError(f"{file} does not fit {CONFIG}: {name} is unknown")
    return mixture(tuple(models), config.model.kind), mixture_params(weights, members)


def _taken(arrays: dict[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    """Take out of ``arrays`` those whose name begins so; return them by the rest of the name."""
    names = [name for name in arrays if name.startswith(start)]
    return {name.removeprefix(start): arrays.pop(name) for name in names}


def _checked_params(arrays: dict[str, np.ndarray], file: Path, model: Model) -> Params:
    """Return arrays as the parameters of a model. Raises InputError where they cannot be that."""
    names = sorted(arrays)
    if model.unusable is not None:
        problem = model.unusable(arrays)
        if problem:
            raise InputError(f"{file} does not fit {CONFIG}: {problem}")
    else:
        expected = flatten_dict(jax.eval_shape(model.init, jax.random.key(0)), sep=".")
        check_arrays(arrays, _in_its_precision(expected, arrays), str(file), CONFIG)
        names = list(expected)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"{file} holds no usable model: {name} is not finite")
            if array.dtype.kind == "i" and array.min(initial=0) < 0:
                raise InputError(f"{file} holds no usable model: {name} has a negative number")
    return unflatten_dict({name: jnp.asarray(arrays[name]) for name in names}, sep=".")


def _in_its_precision(
    expected: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return what is expected in the precision of a run, which may be another (JAX_ENABLE_X64)."""

    def dtype(name: str, wanted: np.dtype) -> np.dtype:
        found = arrays[name].dtype if name in arrays else wanted
        return found if {found.name, wanted.name} <= {"float32", "float64"} else wanted

    return {
        name: jax.ShapeDtypeStruct(leaf.shape, dtype(name, leaf.dtype))
        for name, leaf in expected.items()
    }


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
