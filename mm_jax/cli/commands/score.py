"""mm-jax score: show how surprised a trained model is by single lines, symbol by symbol."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.cli.describe_data import note_unknown
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console

if TYPE_CHECKING:
    from mm_jax.data.corpus import Corpus
    from mm_jax.runs.reader import Run


@dataclasses.dataclass(frozen=True)
class Options:
    """Show how surprised a trained model is by single lines, in nats, symbol by symbol.

    The nats of a line are -log of its probability; the last symbol ends the line, but for a model
    of a document, which does not end. Lines of a file or of stdin with symbols that the run does
    not know are counted on stderr and left out; where it has an unknown word, words are read as it.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory of mm-jax train or mm-jax count."""
    lines: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LINE")] = ()
    """The lines to score; - reads them from stdin."""
    data: str | None = None
    """A file whose items to score, in place of LINE."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


class Chosen(NamedTuple):
    """What is scored."""

    corpus: "Corpus"
    texts: list[str]
    num_skipped: int  # of the lines: their symbols are not all known


def run(options: Options, console: Console) -> Outcome:
    """Score lines with a run."""
    from mm_jax.runs.reader import describe, load_run, unfinished_note
    from mm_jax.training.surprise import surprise

    if bool(options.lines) == (options.data is not None):
        raise InputError("give at least one line to score, - for stdin, or --data FILE")
    trained = load_run(options.run)
    if unfinished := unfinished_note(trained):
        console.note(unfinished)
    chosen = choose(trained, options, console)
    corpus, vocab = chosen.corpus, trained.vocab
    num_unknown = int((corpus.ids == vocab.unknown).sum())
    each = surprise(trained.model, trained.params, corpus).tolist()
    ids, shown = corpus.ids.tolist(), vocab.symbols
    limits = corpus.offsets.tolist()
    without_end = trained.config.data.items == "document" and not corpus.is_document
    symbols, totals, impossible = [], [], []
    for text, first, end in zip(chosen.texts, limits, limits[1:], strict=False):
        last = min(end, len(each)) - without_end
        line = [(shown[ids[k + 1]], each[k]) for k in range(first, last)]
        found = impossible_in_line(trained, ids, each, first, last)
        symbols.append(line)
        totals.append(sum(nats for _, nats in line))
        impossible.append(found)
        print_line(text, line, console)
    for ngram in dict.fromkeys(ngram for line in impossible for ngram in line):
        context, symbol = ngram
        console.say(f"{context}{symbol} has no probability: {symbol!r} never follows {context!r}")
    record = {
        "command": "score",
        **describe(trained),
        "lines": chosen.texts,
        "nats": totals,
        "nats_per_symbol": [total / len(line) for total, line in zip(totals, symbols, strict=True)],
        "symbols": symbols,
        "impossible": [[context + symbol for context, symbol in line] for line in impossible],
        "num_skipped": chosen.num_skipped,
        "num_unknown": num_unknown,
    }
    return Outcome(record)


def choose(trained: "Run", options: Options, console: Console) -> Chosen:
    """Return the lines that were asked for. Raise InputError where none can be scored."""
    from mm_jax.data.corpus import encode_corpus
    from mm_jax.data.vocab import UNKNOWN, SymbolError, unknown_words

    if options.data is None and options.lines != ("-",):
        try:
            corpus = encode_corpus(options.lines, trained.vocab)
        except SymbolError as error:
            raise InputError(f"line {error.index + 1}: {error}") from None
        if trained.config.data.items == "document" and not corpus.lengths.all():
            line = int(corpus.lengths.argmin()) + 1
            raise InputError(
                f"line {line} is empty, and a model of a document knows no end to score"
            )
        note_unknown(unknown_words(trained.vocab, options.lines), console)
        return Chosen(corpus, list(options.lines), 0)
    corpus, complaint, num_skipped = read_items(trained, options.data)
    if complaint:
        console.note(complaint)
    if count := int((corpus.ids == trained.vocab.unknown).sum()):
        words = int((corpus.ids != 0).sum())
        console.note(
            f"{count:,} of {words:,} words are not in the vocabulary and are read as {UNKNOWN}"
        )
    return Chosen(corpus, corpus.items(), num_skipped)


def read_items(trained: "Run", name: str | None) -> tuple["Corpus", str, int]:
    """Return the items of a file, or of stdin, what is wrong with some, and how many these are."""
    from mm_jax.data.encoding import Encoder, corpus_of
    from mm_jax.data.streaming import Stream

    data = trained.config.data
    config = dataclasses.replace(data, data=name or "stdin", split="none")
    if name is None:
        config = dataclasses.replace(config, column=None, weights=None)
    stream = Stream(config, kept=None if name else sys.stdin.buffer.read())
    encoder = Encoder(trained.vocab, data.items)
    corpus = corpus_of(stream, encoder)
    if not encoder.num_affected:
        if not corpus.num_predictions:
            raise InputError(f"{stream.path} has nothing in it to score")
        return corpus, "", 0
    error = encoder.error(stream.path)
    if encoder.items == "document" or encoder.num_affected == encoder.num_items:
        raise error
    return corpus, f"{error}; left out", encoder.num_affected


def print_line(text: str, line: Sequence[tuple[str, float]], console: Console) -> None:
    """Print the nats of a line, as a whole and of each symbol."""
    total = sum(nats for _, nats in line)
    detail = "  ".join(f"{symbol} {nats:.3f}" for symbol, nats in line)
    console.say(f"{text}: {total:.4f} nats, {total / len(line):.4f} per symbol:  {detail}")


def impossible_in_line(
    trained: "Run", ids: list[int], nats: list[float], first: int, last: int
) -> list[tuple[str, str]]:
    """Return each symbol of a line without probability, behind the context that it follows."""
    lead, spell = trained.model.lead, trained.vocab.spell
    found: list[Any] = []
    for k in range(first, last):
        if nats[k] == float("inf"):
            begin = k + 1 - lead
            context = [0] * max(0, first - begin) + ids[max(begin, first) : k + 1]
            found.append((spell(context), spell([ids[k + 1]])))
    return found
