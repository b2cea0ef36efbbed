"""mm-jax sample: make new lines with a trained model."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.cli.describe_data import note_unknown, show_samples
from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError, Seed
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import is_large

if TYPE_CHECKING:
    from mm_jax.runs.reader import Run


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
    max_len: Annotated[int | None, Between(1, 1_000_000)] = None
    """Cut a line that reaches this many symbols; by default twice as many as the longest training
    line has, from 64 to 2,000. A document goes on for so many, by default 500."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Sample from a run."""
    import jax

    from mm_jax.data.samples import Samples
    from mm_jax.data.vocab import SymbolError, encode, unknown_words
    from mm_jax.models.sampling import sample_in_chunks
    from mm_jax.runs.reader import describe, load_run, unfinished_note

    trained = load_run(options.run)
    if unfinished := unfinished_note(trained):
        console.note(unfinished)
    try:
        prefix = encode(trained.vocab, options.prefix)
    except SymbolError as error:
        raise InputError(f"--prefix: {error}") from None
    note_unknown(unknown_words(trained.vocab, [options.prefix]), console)
    shape = trained.sample_shape
    if options.max_len is not None:
        shape = shape._replace(max_len=options.max_len)
    parts = sample_in_chunks(
        trained.model,
        trained.params,
        jax.random.key(options.seed),
        num=options.num,
        **shape.options,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        prefix=prefix if len(prefix) else None,
    )
    samples = Samples([], [], shape.max_len, shape.what)
    for tokens, ended in parts:
        drawn = shape.samples(trained.vocab, tokens, ended)
        samples.texts.extend(drawn.texts)
        samples.cut.extend(drawn.cut)
    in_train = find_in_train(trained, samples.texts, console)
    if not options.json:
        show_samples(samples, in_train, console)
    elif note := samples.note():
        console.note(note)
    record = {
        "command": "sample",
        **describe(trained),
        "samples": samples.texts,
        "in_train": in_train,
        "cut": samples.cut,
        "num_cut": sum(samples.cut),
    }
    return Outcome(record)


def find_in_train(trained: "Run", texts: list[str], console: Console) -> list[bool] | None:
    """Return which samples are among the training lines; None where these are not known."""
    from mm_jax.runs.reader import run_dataset

    data = trained.config.data
    if data.items == "document":
        return None
    if is_large(data.data):
        console.note("its data file is large: lines that stand in it are not marked")
        return None
    try:
        return run_dataset(trained).splits.train.contains(texts)
    except InputError:
        console.note("its data file is gone or has changed: lines in it are not marked")
        return None
