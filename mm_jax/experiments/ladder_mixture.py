"""The mixture of the ladder: the best nets and Kneser-Ney, with weights fitted on a part of train.

Nets that have seen that part would get too much weight. So a copy of each is trained on the other
nine tenths of train, the weights of these copies are fitted on the tenth, and the nets trained on
all of train get them (stacking, Wolpert 1992). Neither dev nor test is used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mm_jax.config.base import InputError
from mm_jax.config.models import KneserNeyConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.splits import Splits, hold_out
from mm_jax.experiments.ladder_record import (
    ImpossibleError,
    InterruptedLadderError,
    Training,
)
from mm_jax.experiments.setup import load_setup
from mm_jax.models import kneser_ney
from mm_jax.models.base import Model, Params
from mm_jax.models.mixture import Kind
from mm_jax.models.registry import build_model
from mm_jax.runs.checkpoint import read_params, serialize
from mm_jax.runtime.atomic_files import make_dir, write_whole
from mm_jax.training.mixture_weights import fit_mixture
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import fit_chunks


class Copy(NamedTuple):
    """A net of the ladder, to be trained once more on nine tenths of train."""

    name: str
    config: RunConfig
    file: Path  # its parameters, once it is trained


def stacked_weights(
    copies: Sequence[Copy],
    counted: KneserNeyConfig,
    kind: Kind,
    dataset: Dataset,
    training: Training,
) -> list[float]:
    """Return the weight of each net, and last that of Kneser-Ney.

    Copies whose file exists are not trained again. Raises InterruptedLadderError, and
    ImpossibleError where train is too small to hold a part of it out.
    """
    try:
        rest, held_out = hold_out(dataset.splits.train)
    except InputError as error:
        raise ImpossibleError(str(error)) from None
    splits = Splits(rest, held_out, held_out)
    part = dataset._replace(splits=splits)
    members = [_trained(copy, part, training) for copy in copies]
    params = kneser_ney.fit_kneser_ney(rest, order=counted.order)
    members.append((build_model(counted, len(dataset.vocab)), params))
    models, all_params = zip(*members, strict=True)
    fit = fit_mixture(models, all_params, held_out, kind)
    return [float(weight) for weight in np.asarray(fit.params["weights"])]


def _trained(copy: Copy, part: Dataset, training: Training) -> tuple[Model, Params]:
    """Return a net trained on a part of train, from its file where that is there."""
    config = copy.config
    optimizer = make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer, dataset=part)
    if copy.file.exists():
        return setup.model, unflatten_dict(read_params(copy.file), sep=".")
    state = setup.initial_state(optimizer)
    with training(f"{copy.name}, for the weights", 0, config.steps) as observer:
        for after, losses in fit_chunks(
            setup.model,
            optimizer,
            state,
            setup.data,
            num_steps=config.steps,
            batch_size=setup.batch_size,
        ):
            state = after
            observer.progress(int(state.step), float(losses.mean()))
            if observer.should_stop() and int(state.step) < config.steps:
                raise InterruptedLadderError
    named = flatten_dict(state.best_params, sep=".")
    make_dir(copy.file.parent)
    write_whole(copy.file, serialize({name: np.asarray(a) for name, a in named.items()}, {}))
    return setup.model, state.best_params
