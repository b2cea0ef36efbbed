"""The entries of the ladder that are made of others: the ensemble, and the mixture."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np

from mm_jax.config.base import InputError
from mm_jax.config.command_line import command_of
from mm_jax.config.ladder import GOOD_TURING, NETS
from mm_jax.config.models import KneserNeyConfig, MixtureConfig
from mm_jax.config.training import MixConfig, RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.evaluation import losses_at_end, new_share
from mm_jax.experiments.ladder_mixture import Copy, stacked_weights
from mm_jax.experiments.ladder_record import (
    Entry,
    ImpossibleError,
    LadderRecord,
    Training,
    seed_folder,
)
from mm_jax.experiments.members import Member, save_run
from mm_jax.experiments.mixing import heed_repeats, mixture_of, save_mixture, with_weights
from mm_jax.models.base import num_params
from mm_jax.models.mixture import LINEAR, LOG_LINEAR, Kind
from mm_jax.runs.reader import Run, load_run
from mm_jax.runs.writer import drop_results
from mm_jax.training.item_repeats import check_repeats
from mm_jax.training.step import NotFiniteError

NUM_NETS = 3  # in the mixture: the best ones, of different models
KNESER_NEY = "kneser-ney"
MAX_PROBS = 2**31  # of a log-linear mixture: each symbol at each place of train; a few minutes


def best_nets(record: LadderRecord) -> list[Entry]:
    """Return the nets with a finite loss, the best first."""
    nets = [e for e in record.results if e.name in NETS and math.isfinite(e.spread.mean)]
    return sorted(nets, key=lambda entry: entry.spread.mean)


def nets_to_mix(record: LadderRecord) -> list[Entry]:
    """Return the best nets of different models."""
    of_model: dict[str, Entry] = {}
    for net in best_nets(record):
        of_model.setdefault(NETS[net.name].config.model.name, net)
    return [*of_model.values()][:NUM_NETS]


def ensemble_entry(path: Path, record: LadderRecord, dataset: Dataset) -> Entry:
    """Write the ensemble of all seeds of the best net as one run; return its entry."""
    nets, num = best_nets(record), record.config.seeds
    if not nets or num < 2:
        raise ImpossibleError("it needs a net, and two seeds or more")
    best = nets[0]
    runs = [load_run(path / seed_folder(best.name, seed)) for seed in range(num)]
    members = []
    for run, dev_loss in zip(runs, best.dev_losses or [None] * num, strict=True):
        assert isinstance(run.config, RunConfig)
        params = jax.tree.map(np.asarray, run.params)
        steps, size = run.config.steps, num_params(run.params)
        members.append(Member(run.config, size, steps, dev_loss, [], params))
    config = dataclasses.replace(members[0].config, seeds=num)
    result = save_run(path / "ensemble", config, members, dataset, alone=True)
    made = load_run(path / "ensemble")
    return Entry(
        "ensemble",
        command=command_of(config),
        num_params=num_params(made.params),
        train_losses=(result.train_loss,),
        dev_losses=() if result.dev_loss is None else (result.dev_loss,),
        new_share=new_share(made.model, made.params, dataset),
        seconds=None if best.seconds is None else num * best.seconds,
        folder="ensemble",
    )


def mixture_entry(
    name: str, path: Path, record: LadderRecord, dataset: Dataset, training: Training
) -> Entry:
    """Write the mixture of the best nets and Kneser-Ney as one run; return its entry.

    ``name`` says whether with Good-Turing. Each seed has a mixture, of the nets of that seed; the
    run is that of the first one. It is linear where log-linear took too long: that needs the
    probability of every symbol at each place, a linear one that of what came.
    """
    nets = nets_to_mix(record)
    counts = [entry for entry in record.results if entry.name == KNESER_NEY]
    if not nets or not counts:
        raise ImpossibleError(f"it needs a net and {KNESER_NEY}")
    train, V = dataset.splits.train, len(dataset.vocab)
    kind: Kind = LINEAR if train.num_predictions * V > MAX_PROBS else LOG_LINEAR
    choices = MixtureConfig(kind, good_turing=name == GOOD_TURING)
    if choices.good_turing:
        _check_good_turing(kind, dataset)
    weights = _weights(path, record, nets, kind, dataset, training)
    losses = []
    for seed in range(record.config.seeds):
        folders = [*(seed_folder(net.name, seed) for net in nets), KNESER_NEY]
        runs = [load_run(path / folder) for folder in folders]
        model = mixture_of(runs, choices.kind)
        model, params, _ = heed_repeats(model, with_weights(runs, weights), choices, dataset)
        if seed == 0:
            config = _config(path, choices, folders, runs, weights)
            drop_results(path / name)
            result = save_mixture(path / name, config, model, params, dataset)
            losses.append((result.train_loss, result.dev_loss))
            first = Entry(
                name,
                command=command_of(config),
                num_params=num_params(params),
                new_share=new_share(model, params, dataset),
                seconds=_sum_of([entry.seconds for entry in (*nets, *counts)]),
                folder=name,
            )
        else:
            losses.append(losses_at_end(model, params, dataset))
    train_losses, dev_losses = zip(*losses, strict=True)
    return first._replace(
        train_losses=train_losses, dev_losses=() if None in dev_losses else dev_losses
    )


def _check_good_turing(kind: Kind, dataset: Dataset) -> None:
    """Raise ImpossibleError where the items do not repeat, or there are too many symbols."""
    train, V = dataset.splits.train, len(dataset.vocab)
    try:
        check_repeats(train)
    except InputError as error:
        raise ImpossibleError(str(error)) from None
    if kind == LINEAR:
        raise ImpossibleError(
            f"it needs the probability of each of {V:,} symbols at {train.num_predictions:,} "
            "places of train, which takes long; mm-jax mix --good-turing does it"
        )


def _weights(
    path: Path,
    record: LadderRecord,
    nets: list[Entry],
    kind: Kind,
    dataset: Dataset,
    training: Training,
) -> list[float]:
    """Return the weights of the nets and of Kneser-Ney, found once and kept in ladder.json."""
    names = [*(net.name for net in nets), KNESER_NEY]
    if [*record.weights] != names:
        copies = []
        for net in nets:
            config = load_run(path / seed_folder(net.name, 0)).config
            assert isinstance(config, RunConfig)
            copies.append(Copy(net.name, config, path / "held-out" / f"{net.name}.safetensors"))
        counted = load_run(path / KNESER_NEY).config.model
        assert isinstance(counted, KneserNeyConfig)
        try:
            found = stacked_weights(copies, counted, kind, dataset, training)
        except NotFiniteError as error:
            raise ImpossibleError(f"a net diverged on a part of train: {error}") from None
        record.weights = dict(zip(names, found, strict=True))
        record.save(path)
    return [*record.weights.values()]


def _config(
    path: Path,
    choices: MixtureConfig,
    folders: list[str],
    runs: list[Run],
    weights: list[float],
) -> MixConfig:
    paths = tuple(str((path / folder).absolute()) for folder in folders)
    configs = tuple(run.config for run in runs)
    return MixConfig(configs[0].data, choices, configs, paths, fixed_weights=tuple(weights))


def _sum_of(numbers: list[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return math.fsum(known) if len(known) == len(numbers) else None
