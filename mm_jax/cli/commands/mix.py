"""mm-jax mix: several runs as one, a weighted mean of what they say."""

import dataclasses
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.cli.common import Outcome, describe_losses
from mm_jax.cli.describe_data import describe_dataset, note_data, show_samples
from mm_jax.config.base import InputError
from mm_jax.config.models import MixtureConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import MixConfig
from mm_jax.runtime.console import Console, format_loss

if TYPE_CHECKING:
    from mm_jax.data.corpus import Corpus
    from mm_jax.data.dataset import Dataset
    from mm_jax.runs.reader import Run
    from mm_jax.training.item_repeats import GoodTuringFit
    from mm_jax.training.mixture_weights import MixtureFit


@dataclasses.dataclass(frozen=True)
class Options:
    """Mix several runs into one, which can be sampled from, evaluated and scored like any other.

    They were made of the same data, split in the same way. The weight of each is fitted on dev, or
    on a file of your own; the new run holds all of them. With --good-turing it can be one run.

      mm-jax mix runs/gru runs/transformer runs/counts --good-turing --out runs/mixed
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")]
    """Run directories, two or more."""
    model: Annotated[MixtureConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=MixtureConfig
    )
    held_out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Fit the weights on this file, which no run was trained on; by default on dev."""
    fixed_weights: Annotated[str | None, tyro.conf.arg(metavar="W,W,...")] = None
    """Weights of your own in place of fitted ones: a number for each run, with commas between."""
    out: str | None = None
    """The run directory. By default the first free one of runs/mixture-1, runs/mixture-2, ..."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Fit the weights, and write the mixture as a run."""
    if len(options.runs) < 2 and not options.model.good_turing:
        raise InputError("a mixture needs two runs or more, not 1; --good-turing takes one, too")
    from mm_jax.experiments.mixing import (
        check_mixable,
        heed_repeats,
        leading,
        mixture_of,
        save_mixture,
        with_weights,
    )
    from mm_jax.models.base import num_params
    from mm_jax.runs.reader import load_run, run_dataset, unfinished_note
    from mm_jax.runs.writer import choose_dir, hold_dir
    from mm_jax.training.item_repeats import check_repeats
    from mm_jax.training.mixture_weights import fit_mixture

    started = time.perf_counter()
    path = choose_dir(options.out, MixtureConfig.name)
    runs = [load_run(each) for each in options.runs]
    for note in filter(None, map(unfinished_note, runs)):
        console.note(note)
    check_mixable(runs)
    first = leading(runs)
    config = config_of(options, runs, first)
    dataset = run_dataset(first)
    if config.model.good_turing:
        check_repeats(dataset.splits.train)
    held_out = None
    if config.fixed_weights is None:
        held_out = held_out_lines(options, first, dataset, console)
    for line in describe_dataset(dataset):
        console.say(line)
    model, record = mixture_of(runs, config.model.kind), {}
    if held_out is not None:
        models, members = [each.model for each in runs], [each.params for each in runs]
        kind, train = config.model.kind, dataset.splits.train
        fit = fit_mixture(models, members, held_out, kind, train)
        describe_fit(options, fit, console)
        params, record = fit.params, fit_record(fit, kind)
    elif config.fixed_weights is not None:
        params = with_weights(runs, config.fixed_weights)
        record = {"weights": params["weights"].tolist()}
    model, params, repeats = heed_repeats(model, params, config.model, dataset)
    if repeats is not None:
        describe_repeats(repeats, console)
        record |= repeats_record(repeats)
    with hold_dir(path, options.out, MixtureConfig.name) as path:
        result = save_mixture(path, config, model, params, dataset)
    for line in describe_losses(result):
        console.say(line)
    advice = f"{len(result.samples.texts)} {result.samples.what} it makes"
    console.say(f"run        {path}; {advice} (more: mm-jax sample {path}):")
    show_samples(result.samples, dataset.splits.train.contains(result.samples.texts), console)
    record = {
        "command": "mix",
        "config": to_dict(config),
        "vocab_size": len(dataset.vocab),
        "num_params": num_params(params),
        "run_dir": str(path),
        "train_loss": result.train_loss,
        "dev_loss": result.dev_loss,
        **result.units.record,
        **record,
        "samples": result.samples.texts,
        "num_cut": sum(result.samples.cut),
        "seconds": time.perf_counter() - started,
    }
    return Outcome(record)


def config_of(options: Options, runs: "list[Run]", first: "Run") -> MixConfig:
    """Return the choices of the run, of the data of ``first``.

    Raises InputError for weights that are none.
    """
    weights = None
    if options.fixed_weights is not None:
        try:
            weights = tuple(map(float, options.fixed_weights.split(",")))
        except ValueError:
            raise InputError(
                f"--fixed-weights {options.fixed_weights!r} are not numbers with commas between"
            ) from None
    return MixConfig(
        first.config.data,
        options.model,
        tuple(each.config for each in runs),
        tuple(os.path.abspath(each) for each in options.runs),
        None if options.held_out is None else os.path.abspath(options.held_out),
        weights,
    )


def held_out_lines(
    options: Options, first: "Run", dataset: "Dataset", console: Console
) -> "Corpus":
    """Return the text that the weights are fitted on. Raise InputError where there is none."""
    from mm_jax.data.dataset import load_dataset

    if options.held_out is None:
        if not dataset.has_dev:
            raise InputError(
                f"{first.path} holds no lines out (--split none) to fit weights on; give "
                "--held-out FILE"
            )
        return dataset.splits.dev
    data = dataclasses.replace(first.config.data, data=options.held_out, split="none")
    other = load_dataset(data, first.vocab)
    note_data(other.info, console)
    if other.info.sha256 == dataset.info.sha256:
        raise InputError(f"--held-out {options.held_out} is what the runs were trained on")
    return other.splits.train


def describe_fit(options: Options, fit: "MixtureFit", console: Console) -> None:
    """Print the weight of each run, and how well they do on text that they were not fitted on."""
    for name, weight in zip(options.runs, fit.mean_weights.tolist(), strict=True):
        console.say(f"weight     {weight:.4f}  {name}")
    if options.model.kind == "frequency":
        console.say("           (means; each prediction has those of its context)")
    where = "dev" if options.held_out is None else options.held_out
    console.say(
        f"fitted     {options.model.kind}, on {fit.num_predictions:,} predictions of {where}: loss "
        f"{format_loss(fit.loss)}; with weights of its other half {format_loss(fit.halved_loss)}"
    )


def describe_repeats(fit: "GoodTuringFit", console: Console) -> None:
    """Print how often the next item is expected to be one of train, and how often it was."""
    expected, given = (100 * (1 - float(shares[0])) for shares in (fit.expected, fit.given))
    console.say(
        f"repeats    {expected:.1f}% of new items are expected to be in train (Good-Turing); "
        f"without --good-turing {given:.1f}%"
    )


def repeats_record(fit: "GoodTuringFit") -> dict[str, Any]:
    """Return what --json has of the repeats."""
    return {"expected_shares": fit.expected.tolist(), "given_shares": fit.given.tolist()}


def fit_record(fit: "MixtureFit", kind: str) -> dict[str, Any]:
    """Return what --json has of fitted weights."""
    by_bin = {"weights_by_bin": fit.params["weights"].tolist()} if kind == "frequency" else {}
    return {
        "weights": fit.mean_weights.tolist(),
        **by_bin,
        "fitted_loss": fit.loss,
        "halved_loss": fit.halved_loss,
        "num_fitted_on": fit.num_predictions,
    }
