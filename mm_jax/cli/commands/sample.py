"""mm-jax sample: make new lines with a trained model."""

import dataclasses
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError, Seed
from mm_jax.config.models import MAX_LEN
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import is_large


@dataclasses.dataclass(frozen=True)
class Options(Choices):
    """Make new lines with a trained model; "(in train)" marks those among its training lines.

    The i-th line of a seed is the same whatever --num is.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory of mm-jax train or mm-jax count."""
    num: Count = 20
    """Number of lines."""
    seed: Seed = 0
    """Decides the lines."""
    temperature: Annotated[float, Between(0, MAX_FLOAT)] = 1.0
    """Below 1 favours likely symbols, above 1 unlikely ones; 0 always takes the likeliest."""
    top_k: Annotated[int | None, Between(1, 2**31 - 1)] = None
    """Choose among the K likeliest symbols only."""
    top_p: Annotated[float | None, Between(0, 1, open_low=True)] = None
    """Choose among the likeliest symbols only, as many as together have probability P."""
    prefix: str = ""
    """The beginning of every line."""
    max_len: Annotated[int, Between(1, 1_000_000)] = MAX_LEN
    """Cut a line that reaches this many symbols."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Sample from a run."""
    import jax

    from mm_jax.data.vocab import SymbolError, decode_lines, encode
    from mm_jax.models.sampling import sample_in_chunks
    from mm_jax.runs.reader import describe, load_run, run_splits, unfinished_note

    trained = load_run(options.run)
    if unfinished := unfinished_note(trained):
        console.note(unfinished)
    try:
        prefix = encode(trained.vocab, options.prefix)
    except SymbolError as error:
        raise InputError(f"--prefix: {error}") from None
    parts = sample_in_chunks(
        trained.model,
        trained.params,
        jax.random.key(options.seed),
        num=options.num,
        max_len=options.max_len,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        prefix=prefix if len(prefix) else None,
    )
    samples: list[str] = []
    num_cut = 0
    for tokens, ended in parts:
        samples += decode_lines(trained.vocab, tokens)
        num_cut += int((~ended).sum())
    train: set[str] | None = None
    if is_large(trained.config.data.data):
        console.note("its data file is large: lines that stand in it are not marked")
    else:
        try:
            train = set(run_splits(trained)[1].train)
        except InputError:
            console.note("its data file is gone or has changed: lines in it are not marked")
    if not options.json:
        console.say_samples(samples, train)
    record = {
        "command": "sample",
        **describe(trained),
        "samples": samples,
        "in_train": None if train is None else [line in train for line in samples],
        "num_cut": num_cut,
    }
    return Outcome(record)
