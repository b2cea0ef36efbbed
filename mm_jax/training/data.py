"""What a model learns from or is measured on -> examples of the kind that it reads."""

from typing import Any

import jax
import jax.numpy as jnp

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import Examples, examples_of, is_on_host
from mm_jax.models.base import Model, Params, check_ids, vocab_size_of
from mm_jax.training.minibatches import Minibatches


def read_by(
    model: Model,
    data: Corpus | Examples | Minibatches,
    params: Params | None = None,
    *,
    packed: bool = False,
) -> Any:
    """Return the examples of a corpus that the model reads; of anything else that itself.

    With ``packed`` items share rows, where the model begins anew at each boundary.

    Raise InputError where there are none, or items are too long for the model, or a Batch is of the
    wrong kind for it, or all its weights are 0, or there are targets that the model has no logits
    for with these ``params``.
    """
    if params is not None and isinstance(data, Corpus | Batch):
        _check_vocab(vocab_size_of(model, params), data)
    examples: Any = data
    if isinstance(data, Corpus):
        check_lengths(model, data)
        row_length = data.longest + 1 if packed and model.restarts else None
        examples = examples_of(data, model.context, row_length)
    if isinstance(data, Batch):
        check_kind(model, data)
    if not isinstance(examples, Minibatches) and not examples.num_examples:
        raise InputError("the data have no examples")
    if isinstance(data, Batch):
        check_weights(data.weights)
    return examples


def _check_vocab(vocab_size: int, data: Corpus | Batch) -> None:
    if isinstance(data, Batch):
        check_ids("targets of the data", data.targets, vocab_size)
    elif len(data.vocab) > vocab_size:
        raise InputError(
            f"the data have {len(data.vocab):,} symbols, the boundary included, and the model has "
            f"{vocab_size:,}: encode them with the vocabulary that it was made for"
        )


def check_lengths(model: Model, *parts: Corpus) -> None:
    """Raise InputError where the items of a data set have more tokens than the model is right for.

    The boundary is one of them. A document is read in crops of ``--block`` tokens.
    """
    most = model.max_len
    if most is None:
        return
    for corpus in parts:
        if corpus.is_document and min(corpus.block, corpus.num_predictions) > most:
            raise InputError(
                f"--block {corpus.block} is more than the {most} positions of the model: give it "
                f"--positions {corpus.block}, or --block {most}"
            )
    lengths = [part.lengths for part in parts if not part.is_document]
    too_long = sum(int((each >= most).sum()) for each in lengths)
    if too_long:
        longest = max(int(each.max(initial=0)) for each in lengths)
        raise InputError(
            f"{too_long:,} of {sum(map(len, lengths)):,} items are too long for the {most} "
            f"positions of the model, which hold a boundary and {most - 1} symbols; the longest "
            f"has {longest:,} symbols and needs --positions {longest + 1}"
        )


def check_weights(weights: Any) -> None:
    """Raise InputError where all weights are 0, outside of programs, in which none is known."""
    try:
        is_any = bool(jnp.any(weights > 0))
    except jax.errors.TracerBoolConversionError:
        return
    if not is_any:
        raise InputError("all weights of the data are 0, so there is nothing to learn from")


def check_kind(model: Model, batch: Batch) -> None:
    """Raise InputError where a batch has windows and the model reads rows, or of another C."""
    length = batch.tokens.shape[-1]
    if batch.are_windows and model.context is None:
        raise InputError(
            "the batch has windows, and this model reads whole rows: make it with rows(...), or "
            "give the corpus itself"
        )
    if batch.are_windows:
        fits = length == model.context
    else:
        fits = length - model.lead + 1 == batch.targets.shape[-1]
    if not fits and batch.are_windows:
        raise InputError(
            f"the batch has windows of {length} tokens, and this model reads {model.context}: make "
            f"it with windows(..., context={model.context}), or give the corpus itself"
        )
    if not fits:
        raise InputError(
            f"the batch has rows of {length} tokens with {batch.targets.shape[-1]} targets, and of "
            f"such rows this model makes {length - model.lead + 1} predictions: make it with "
            f"rows(..., {model.lead}), or give the corpus itself"
        )


def check_shared(data: Any) -> None:
    """Raise InputError where each of several members has its own data, and one model is to learn.

    Its minibatches would be drawn from the members in place of the examples.
    """
    if isinstance(data, Batch) and data.num_axes:
        raise InputError(
            f"the data have {data.tokens.ndim} axes, and one model learns from (N, length); "
            "population.fit takes an axis of members in front"
        )


def all_of(data: Any) -> Batch:
    """Return all examples as one Batch. Raise InputError for a corpus that stays on the host."""
    if isinstance(data, Batch):
        return data
    if is_on_host(data):
        raise InputError(
            "the data are too large for steps that read all of them: give a batch size"
        )
    return data.exact.take(jnp.arange(data.exact.num_examples))
