"""What several tests need: comparisons, an MLP in NumPy, models for tests, and broken twins."""

import contextlib
import dataclasses
import functools
import io
import json
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mm_jax.cli.main import main
from mm_jax.data.dataset import load_dataset
from mm_jax.data.samples import Samples, to_text
from mm_jax.models.base import scanned
from mm_jax.models.bigram import bigram as neural_bigram
from mm_jax.models.ensemble import ensemble
from mm_jax.models.interpolated import fit_interpolated
from mm_jax.models.kneser_ney import fit_kneser_ney
from mm_jax.models.layers import Head
from mm_jax.models.ngram import fit_ngram
from mm_jax.models.registry import build_model
from mm_jax.runs import writer
from mm_jax.runs.layout import RunMetadata

ROOT = Path(__file__).parents[1]
V = 27  # the boundary and a to z
FIVE_NAMES = ["emma", "olivia", "ava", "isabella", "sophia"]  # 32 examples: the lecture's first
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of what is compared, the less exact one decides

# Most of a test's time goes into compiling, and what runs once need not be fast.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@contextlib.contextmanager
def ended_within(seconds, process):
    """Kill a process at the end of the block, or earlier: a read from it never waits for ever."""
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        process.kill()
        process.wait(60)


@functools.cache
def init_of(init, seed):
    return quick_jit(init)(jax.random.key(seed))


def first_params(model, seed=0):
    """What model.init makes of a key, as new arrays that may be donated."""
    return jax.tree.map(jnp.copy, init_of(model.init, seed))


def moved(params):
    """Parameters each a little other: an array of zeros or ones would hide a mistake."""

    def move(leaf):
        return leaf + 0.1 * jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)

    return jax.tree.map(move, params)


def assert_trees_close(actual, expected):
    """Same structure, shapes and values; floats to the tolerance of their dtype, the rest exact."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(
        jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        where = jax.tree_util.keystr(path)
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, e = jax.random.key_data(a), jax.random.key_data(e)
        a, e = np.asarray(a), np.asarray(e)
        assert a.shape == e.shape, f"{where}: shape {a.shape}, expected {e.shape}"
        near = max(TOLERANCE.get(str(x.dtype), 0.0) for x in (a, e))
        np.testing.assert_allclose(a, e, rtol=near, atol=near, err_msg=where)


def assert_trees_identical(actual, expected):
    """Same structure, dtypes and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, e = jax.random.key_data(a), jax.random.key_data(e)
        a, e = np.asarray(a), np.asarray(e)
        assert a.dtype == e.dtype
        assert np.array_equal(a, e, equal_nan=a.dtype.kind == "f")


def assert_frequencies(draws, probs):
    """Each symbol is drawn as often as its probability says, within 5 standard deviations."""
    draws, probs = np.asarray(draws), np.asarray(probs, np.float64)
    counts = np.bincount(draws, minlength=len(probs))
    assert len(counts) == len(probs)
    sigma = np.sqrt(len(draws) * probs * (1 - probs))
    far = np.abs(counts - len(draws) * probs) > 5 * sigma
    assert not far.any(), f"symbols {np.flatnonzero(far)}: {counts} of {len(draws)} for {probs}"


def softmax64(logits):
    """Softmax along the last axis in float64."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def nats64(logits, targets):
    """-log p(target) in float64, by the formula."""
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
    top = logits.max(-1)
    log_sum = np.log(np.exp(logits - top[..., None]).sum(-1)) + top
    return log_sum - np.take_along_axis(logits, targets[..., None], -1)[..., 0]


def as64(tree):
    """The same tree as float64 NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def mlp64(params, windows):
    """An MLP of one layer in float64, one position of the window at a time: (h, logits)."""
    p, windows = as64(params), np.asarray(windows)
    emb = np.concatenate([p["C"][windows[:, i]] for i in range(windows.shape[1])], 1)
    h = np.tanh(emb @ p["W1"] + p["b1"])
    return h, h @ p["W2"] + p["b2"] + (emb @ p["W"] if "W" in p else 0)


# Commands


def strict_json(text):
    """Read JSON without the numbers that it does not have."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def call(*args, code=0):
    """Run a command in this process; return its stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(list(args)) == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def record_of(*args, code=0):
    """Run a command with --json; return its record, which must be all of stdout."""
    out, _ = call(*args, "--json", code=code)
    assert out.endswith("}\n")
    assert out.count("\n") == 1
    return strict_json(out)


SPARSE_FITS = {"kneser-ney": fit_kneser_ney, "interpolated": fit_interpolated}


def make_run(path, config, *, metrics=(), samples=None, cut=None):
    """Keep an untrained model as a run, as if training had made it; return its path.

    Of counted models it is the counts of the training lines, of the others random numbers.
    ``cut`` says which of the samples were cut: by default none.
    """
    dataset = load_dataset(config.data)
    model = build_model(config.model, len(dataset.vocab))
    if config.model.name == "ngram":
        params = fit_ngram(dataset.splits.train, order=config.model.order)
    elif config.model.name in SPARSE_FITS:
        fit = SPARSE_FITS[config.model.name]
        params = fit(dataset.splits.train, order=config.model.order)
    else:
        count = config.seeds
        params = (
            ensemble(model, count).init(jax.random.key(5)) if count > 1 else first_params(model)
        )
    writer.write_metadata(
        path, RunMetadata(config, dataset.vocab.symbols, dataset.record, None, {})
    )
    writer.append_metrics(path, metrics or [{"train_loss": 2.0, "dev_loss": 2.5}])
    whole = load_dataset(dataclasses.replace(config.data, split="none")).splits.train
    texts = whole.items()[:4] if samples is None else samples
    kept = Samples(
        texts, [False] * len(texts) if cut is None else cut, dataset.sample_shape.max_len
    )
    writer.save_results(path, params, to_text(kept, config.data))
    return path


# Models for tests


def bigram(vocab_size=V):
    """The smallest model of windows: row W[last symbol] is the logits."""
    return neural_bigram(vocab_size, "scaled")


@functools.cache
def gru(vocab_size=V, dim=16):
    """A small gated recurrent net, with nested parameters: the model that is natural by step."""

    def init(key):
        keys = iter(jax.random.split(key, 5))

        def normal(*shape):
            return jax.random.normal(next(keys), shape) / shape[0] ** 0.5

        return {
            "embed": normal(vocab_size, dim) * vocab_size**0.5,
            "gate": {"x": normal(dim, dim), "h": normal(dim, dim), "b": jnp.zeros(dim)},
            "new": {"x": normal(dim, dim), "b": jnp.zeros(dim)},
            "out": {"h": 0.1 * normal(dim, vocab_size), "b": jnp.zeros(vocab_size)},
        }

    def step(params, h, token):
        x, gate, new = params["embed"][token], params["gate"], params["new"]
        z = jax.nn.sigmoid(x @ gate["x"] + h @ gate["h"] + gate["b"])
        h = z * h + (1 - z) * jnp.tanh(x @ new["x"] + new["b"])
        return h, h @ params["out"]["h"] + params["out"]["b"]

    return scanned(init, lambda params: jnp.zeros_like(params["gate"]["b"]), step)


@functools.cache
def forced(ids, vocab_size):
    """A stub without parameters that writes ``ids``, then boundaries, and reads nothing."""
    text = jnp.asarray([*ids, 0], jnp.int32)

    def step(params, place, token):
        likeliest = text[jnp.minimum(place, len(ids))]
        return place + 1, 1e4 * jax.nn.one_hot(likeliest, vocab_size)

    return scanned(lambda _key: {}, lambda _params: jnp.int32(0), step)


@functools.cache
def fixed_logits(vocab_size):
    """A stub whose only parameter is its logits, always the same."""
    return scanned(
        lambda key: {"logits": jax.random.normal(key, (vocab_size,))},
        lambda _params: jnp.int32(0),
        lambda params, carry, _token: (carry, params["logits"]),
    )


# Broken twins: each is a model with one fault, which a law has to catch


def one_too_many(model):
    """A twin that predicts once more than it should."""

    def apply(params, tokens):
        logits = model.apply(params, tokens)
        return jnp.concatenate([logits, logits[..., -1:, :]], -2)

    return model._replace(apply=apply)


def late_step(model):
    """A twin whose step is off by one: it reads each token one step too late."""

    def step(params, carry, token):
        inner, held = carry
        inner, logits = model.step(params, inner, held)
        return (inner, token), logits

    return model._replace(start=lambda params: (model.start(params), jnp.int32(0)), step=step)


def late(model):
    """A twin that is off by one throughout: its prediction does not see the last token."""
    return scanned(model.init, late_step(model).start, late_step(model).step)


def leaky(model):
    """A twin that sees the future: a little of the next prediction is in each."""

    def apply(params, tokens):
        logits = model.apply(params, tokens)
        return logits + 1e-3 * jnp.roll(logits, -1, axis=-2)

    return model._replace(apply=apply)


def crowded(model):
    """A twin that looks at its neighbours in the batch."""

    def apply(params, tokens):
        logits = model.apply(params, tokens)
        return logits - logits.mean(tuple(range(logits.ndim - 2)), keepdims=True)

    return model._replace(apply=apply)


def clinging(model):
    """A twin whose step remembers how much it has read, across boundaries."""

    def step(params, carry, token):
        inner, count = carry
        inner, logits = model.step(params, inner, token)
        return (inner, count + 1), logits + 1e-3 * count * jnp.arange(logits.size)

    return model._replace(start=lambda params: (model.start(params), 0.0), step=step)


def opaque(model):
    """A twin whose embedding has a row too many."""
    return model._replace(embedding=lambda params: jnp.zeros((V + 1, 2)))  # noqa: ARG005


def placed(model):
    """A twin of rows whose logits depend on the place in the row."""

    def apply(params, tokens):
        logits = model.apply(params, tokens)
        places = jnp.arange(tokens.shape[-1]).reshape((1,) * (tokens.ndim - 1) + (-1, 1))
        return logits + 1e-2 * places * jax.nn.one_hot(jnp.ones_like(tokens), V)

    return model._replace(apply=apply, context=None)


def sober(model):
    """A twin with dropout that drops nothing."""
    return model._replace(apply_train=lambda p, t, key: model.apply(p, t))  # noqa: ARG005


def deaf(model):
    """A twin one of whose leaves gets no gradient."""

    def apply(params, tokens):
        leaves, structure = jax.tree.flatten(params)
        leaves[0] = jax.lax.stop_gradient(leaves[0])
        return model.apply(jax.tree.unflatten(structure, leaves), tokens)

    return model._replace(apply=apply)


def numb(model):
    """A twin that learns nothing: its gradients are zero."""
    return model._replace(apply=lambda p, t: model.apply(jax.lax.stop_gradient(p), t))


def loud(model):
    """A twin that is sure of itself before it has seen anything."""
    return model._replace(apply=lambda p, t: 100 * model.apply(p, t))


def infinite(model):
    """A twin with one symbol's logit at minus infinity."""
    return model._replace(apply=lambda p, t: model.apply(p, t).at[..., 3].set(-jnp.inf))


def boastful(model):
    """A twin that says of every target that it is certain."""
    return model._replace(target_log_probs=lambda p, t, targets: jnp.zeros(targets.shape))  # noqa: ARG005


def headless(model):
    """A twin whose last layer has a bias that its logits have not."""

    def head(params, tokens, key):
        del key
        logits = model.apply(params, tokens)
        return Head(logits, jnp.eye(logits.shape[-1]), -jnp.ones(logits.shape[-1]))

    return model._replace(head=head)


def careless(model):
    """A twin whose first parameters do not come from its key alone."""

    def init(key):
        noise = np.random.default_rng().standard_normal()
        return jax.tree.map(lambda leaf: leaf + noise, model.init(key))

    return model._replace(init=init)


def weak(model):
    """A twin with a parameter of a weak type, which the first update makes a strong one."""

    def init(key):
        return {"inner": model.init(key), "scale": jnp.asarray(1.0)}

    return model._replace(init=init, apply=lambda p, t: p["scale"] * model.apply(p["inner"], t))
