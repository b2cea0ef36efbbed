"""Laws that every model keeps; a new model of MODELS is tested by being registered.

Laws of reading hold for all models, laws of learning for those trained by gradients. A law is a
function of a model. Each has a broken twin, a model that shows that the law can fail.
"""

import dataclasses
import functools
import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.models import COUNTED, TRAINED
from mm_jax.data.batches import rows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.examples import examples_of
from mm_jax.data.prefix_tree import prefix_tree
from mm_jax.data.vocab import Vocab
from mm_jax.models.backoff import to_sparse
from mm_jax.models.context_frequency import frequency_table
from mm_jax.models.ensemble import ensemble
from mm_jax.models.good_turing import good_turing, tree_params
from mm_jax.models.mixture import mixture
from mm_jax.models.mlp import mlp
from mm_jax.models.registry import MODELS, build_model
from mm_jax.training.loss import loss
from mm_jax.training.state import TrainState, init_state
from mm_jax.training.step import fit, train_step
from tests import helpers
from tests.helpers import (
    FIVE_NAMES,
    V,
    assert_trees_close,
    assert_trees_identical,
    first_params,
    quick_jit,
)

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
SMALL = {"embed_dim": 8, "hidden_dim": 24, "layers": 2, "heads": 2}  # of these, what a config has


def small(name, **choices):
    """A registered model from its default config, small, with the init that starts near ln V."""
    return build_model(small_config(name, **choices), V)


def small_config(name, **choices):
    """The choices of ``small``."""
    config = TRAINED[name]().for_items(16)
    values = dataclasses.asdict(config)
    changes = {field: value for field, value in SMALL.items() if field in values}
    if values.get("init") == "lecture":
        changes["init"] = "scaled"
    return dataclasses.replace(config, **changes | choices)


def random_counts(key):
    """Parameters of a trigram model in which every trigram occurred, at random how often."""
    return {"counts": jax.random.randint(key, (V, V, V), 1, 1000)}


def random_states(key):
    """Parameters of an interpolated model of order 3 in which every context occurred."""
    one, two = np.arange(V) + 1, np.arange(V * V).reshape(V, V) + V + 1
    following = np.concatenate([one[None], two, np.tile(two, (V, 1))])
    return {
        "logits": jax.nn.log_softmax(jax.random.normal(key, following.shape)),
        "next": jnp.asarray(following, jnp.int32),
    }


def random_sparse_states(key):
    """The same without what is computed beforehand, from one key."""
    del key
    with jax.ensure_compile_time_eval():
        params = to_sparse(jax.device_get(random_states(jax.random.key(0))))
    return jax.tree.map(jnp.asarray, params)


RANDOM_PARAMS = {"ngram": random_counts, "kneser-ney": random_states, "interpolated": random_states}


def counted(name):
    """A registered count model of order 3, whose init draws random counts in place of none."""
    return build_model(COUNTED[name](order=3), V)._replace(init=RANDOM_PARAMS[name])


def of_repeats(model):
    """A model with Good-Turing for five names, their factors drawn at random."""
    with_repeats, tree = good_turing(model), prefix_tree(encode_corpus(FIVE_NAMES, LETTERS))
    drawn = np.random.default_rng(0).normal(size=len(tree.symbols) + 2)

    def init(key):
        return with_repeats.init(key) | {"tree": tree_params(tree.symbols, tree.first, drawn)}

    return with_repeats._replace(init=init)


def by_frequency(model):
    """A mixture by frequency with the contexts of five names, its weights drawn at random."""
    table, size = frequency_table(encode_corpus(FIVE_NAMES, LETTERS))
    table = {name: jnp.asarray(array) for name, array in table.items()}

    def init(key):
        params = model.init(key)
        num = params["weights"].shape[-1]
        drawn = np.random.default_rng(0).dirichlet(np.ones(num), size)
        return params | {"weights": jnp.asarray(drawn, jnp.float32), "frequency": table}

    return model._replace(init=init)


MICROGPT = {"norm": "rms", "activation": "relu", "bias": "no", "tied": "no", "init": "microgpt"}
TRAINABLE = {name: small(name) for name in TRAINED}
VARIANTS = {
    "mlp of one layer": small("mlp", layers=1),
    "mlp with layer norm": small("mlp", norm="layer"),
    "mlp with direct connections": small("mlp", direct=True),
    "mlp without layers": small("mlp", layers=0),
    "wavenet without norm": small("wavenet", norm="none"),
}
TRAINABLE |= {"test-gru": helpers.gru(), "microgpt": small("transformer", **MICROGPT), **VARIANTS}
DROPS = ("input_dropout", "dropout", "recurrent_dropout")
DROPPING = {
    name: small(name, **drops)
    for name, config in TRAINED.items()
    if (drops := {field: 0.3 for field in DROPS if hasattr(config, field)})
}
ALL = TRAINABLE | {name: counted(name) for name in COUNTED}
ALL["sparse kneser-ney"] = ALL["kneser-ney"]._replace(init=random_sparse_states)
ALL["ensemble"] = ensemble(TRAINABLE["mlp"], 3)
OF_WINDOWS = (TRAINABLE["mlp"], counted("ngram"), counted("kneser-ney"))
OF_ROWS = (TRAINABLE["gru"], counted("kneser-ney"), TRAINABLE["transformer"], TRAINABLE["mlp"])
MIXTURES_OF_ROWS = {
    "mixture of rows": mixture(OF_ROWS),
    "mixture of rows by probability": mixture(OF_ROWS, "linear"),
}
ALL |= {"mixture": mixture(OF_WINDOWS), "mixture by probability": mixture(OF_WINDOWS, "linear")}
ALL |= {
    "mixture by frequency": by_frequency(mixture(OF_WINDOWS, "frequency")),
    "mixture of rows by frequency": by_frequency(mixture(OF_ROWS, "frequency")),
}
OF_REPEATS = {
    "good-turing": of_repeats(TRAINABLE["mlp"]),
    "good-turing of rows": of_repeats(TRAINABLE["gru"]),
}
ALL |= MIXTURES_OF_ROWS | OF_REPEATS


def random_tokens(*shape):
    return np.random.default_rng(0).integers(0, V, shape, np.int32)


def five_rows(model):
    return rows(FIVE_NAMES, LETTERS, model.lead)


def law_of_shapes(model):
    """T tokens give T - context + 1 predictions of V logits; step keeps its carry."""
    params = jax.eval_shape(model.init, jax.random.key(0))
    floats = np.dtype("float32"), jnp.zeros(()).dtype  # the second is float64 with x64
    for leading in (), (2,), (2, 3):
        tokens = jax.ShapeDtypeStruct((*leading, model.lead + 4), jnp.int32)
        logits = jax.eval_shape(model.apply, params, tokens)
        assert logits.shape == (*leading, 5, V)
        assert logits.dtype in floats
    carry = jax.eval_shape(model.start, params)
    token = jax.ShapeDtypeStruct((), jnp.int32)
    after, logits = jax.eval_shape(model.step, params, carry, token)
    assert after == carry
    assert logits.shape == (V,)
    assert logits.dtype in floats


def law_of_streaming(model):
    """Reading token by token gives the logits of reading all at once."""
    params = first_params(model)
    row = np.maximum(random_tokens(9), 1)  # boundaries within a row: see law_of_restarts
    row[0] = 0

    @quick_jit
    def both(params, row):
        def read(carry, token):
            return model.step(params, carry, token)

        streamed = jax.lax.scan(read, model.start(params), row)[1]
        padded = jnp.pad(row, (model.lead - 1, 0))
        return streamed, model.apply(params, padded)

    streamed, parallel = both(params, row)
    assert_trees_close(streamed, parallel)


def law_of_target_log_probs(model):
    """What a model says of the targets alone is what its logits say."""
    if model.target_log_probs is None:
        return
    params, tokens = first_params(model), random_tokens(3, model.lead + 8)
    targets = np.random.default_rng(1).integers(0, V, (3, 9), np.int32)

    @quick_jit
    def both(params, tokens, targets):
        log_probs = jax.nn.log_softmax(model.apply(params, tokens))
        each = jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
        found = model.target_log_probs(params, tokens, targets)
        # Also with x64 counts are in float32, and so is what a mixture knows of them.
        return found.astype(jnp.float32), each.astype(jnp.float32)

    assert_trees_close(*both(params, tokens, targets))


def law_of_the_head(model):
    """The last layer before its product gives the logits, with a key those of training."""
    if model.head is None:
        return
    params, tokens, key = first_params(model), random_tokens(3, model.lead + 8), jax.random.key(1)
    found = quick_jit(lambda *args: model.head(*args, None).logits)(params, tokens)
    assert_trees_identical(found, quick_jit(model.apply)(params, tokens))
    if model.apply_train is not None:
        found = quick_jit(lambda *args: model.head(*args).logits)(params, tokens, key)
        assert_trees_identical(found, quick_jit(model.apply_train)(params, tokens, key))


@functools.cache
def changed_at(model):
    """Whether logits at each prediction change with each token: (tokens, predictions)."""
    params = first_params(model)
    tokens = random_tokens(model.lead + 5)
    other = (tokens + np.eye(len(tokens), dtype=np.int32)) % V  # row i: token i is another
    logits = np.asarray(quick_jit(model.apply)(params, np.stack([tokens, *other])))
    return (logits[1:] != logits[:1]).any(-1)


def law_of_causality(model):
    """No prediction changes with a token that comes after it."""
    token, prediction = np.indices((model.lead + 5, 6))
    assert not changed_at(model)[token > prediction + model.lead - 1].any()


def law_of_the_latest_token(model):
    """Every prediction changes with the latest token, and with all that context says it needs."""
    token, prediction = np.indices((model.lead + 5, 6))
    needed = (token >= prediction) & (token <= prediction + model.lead - 1)
    assert changed_at(model)[needed].all()


def law_of_restarts(model):
    """A boundary makes step begin anew; and apply, where there is no context."""
    if not model.restarts:
        return
    params, before, item = first_params(model), [0, 7, 3, 3], [0, 5, 7, 1]

    @quick_jit
    def read(params, row):
        def read_token(carry, token):
            return model.step(params, carry, token)

        stepped = jax.lax.scan(read_token, model.start(params), row)[1]
        return stepped, model.apply(params, row) if model.context is None else None

    stepped, applied = read(params, jnp.array(before + item))
    stepped_alone, applied_alone = read(params, jnp.array(item))
    assert_trees_close(stepped[len(before) :], stepped_alone)
    if model.context is None:
        assert_trees_close(applied[len(before) :], applied_alone)


def law_of_what_is_inside(model):
    """Activations, gates, attention and embedding have the shapes and limits that they promise."""
    params, tokens = first_params(model), random_tokens(2, model.lead + 4)
    tokens[:, 2] = 0
    found = {
        name: quick_jit(function)(params, tokens)
        for name in ("hidden", "gates", "attention")
        if (function := getattr(model, name)) is not None
    }
    for name, low in (("hidden", -1), ("gates", 0)):
        for each in found.get(name, {}).values():
            assert each.shape[:2] == (2, 5)
            assert each.ndim == 3
            assert low <= np.min(each) < np.max(each) <= 1
    for each in found.get("attention", {}).values():
        assert each.shape[2:] == (5, 5)
        np.testing.assert_allclose(np.sum(each, -1), 1, rtol=1e-5)
        assert not np.triu(each, 1).any()
        assert not np.any(each[..., 2:, :2])  # across the boundary
    if model.embedding is not None:
        assert jax.eval_shape(model.embedding, params).shape[:1] == (V,)
    if model.bigram_logits is not None:
        rows = quick_jit(model.apply)(params, np.arange(V)[:, None])[:, 0]
        assert_trees_close(model.bigram_logits(params), rows)


def law_of_leading_axes(model):
    """More leading axes are as good as vmap."""
    params = first_params(model)
    tokens = random_tokens(2, 3, model.lead + 3)
    each = jax.vmap(jax.vmap(lambda row: model.apply(params, row)))
    assert_trees_close(*quick_jit(lambda t: (model.apply(params, t), each(t)))(tokens))


def law_of_gradients(model):
    """Every leaf gets a finite gradient that is not zero."""
    grads = quick_jit(jax.grad(loss, argnums=1), static_argnums=0)(
        model, first_params(model), five_rows(model)
    )
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path


def law_of_the_first_loss(model):
    """Before the first step nothing is known: the loss is near ln V."""
    value = quick_jit(loss, static_argnums=0)(model, first_params(model), five_rows(model))
    assert abs(float(value) - math.log(V)) < 0.1


def law_of_finite_logits(model):
    """Whatever is read, no logit is infinite or NaN."""
    tokens = random_tokens(40, model.lead + 3)
    assert np.isfinite(quick_jit(model.apply)(first_params(model), tokens)).all()


def entropy_of_five_names(context):
    """The least loss that a model of the last ``context`` symbols can reach on the 32 examples."""
    padded = ["." * context + name + "." for name in FIVE_NAMES]
    pairs = Counter(
        (line[i : i + context], line[i + context])
        for line in padded
        for i in range(len(line) - context)
    )
    totals = Counter()
    for (before, _), count in pairs.items():
        totals[before] += count
    nats = sum(-count * math.log(count / totals[before]) for (before, _), count in pairs.items())
    return nats / pairs.total()


def law_of_overfitting(model):
    """32 examples are learned by heart, down to what the context leaves open."""
    batch, optimizer = five_rows(model), optax.adam(0.1)

    @quick_jit
    def train(params):
        def step(carry, _):
            params, opt_state = carry
            grads = jax.grad(loss, argnums=1)(model, params, batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        params = jax.lax.scan(step, (params, optimizer.init(params)), length=300)[0][0]
        return loss(model, params, batch)

    assert train(first_params(model)) < entropy_of_five_names(model.lead) + 0.02


loss_and_gradients = jax.value_and_grad(loss, argnums=1)


def law_of_packing(model, measure=loss_and_gradients):
    """Items that share rows have the loss and the gradients of items in rows of their own."""
    if model.context is not None or not model.restarts:
        return
    corpus = encode_corpus(FIVE_NAMES, LETTERS)
    padded, packed = (examples_of(corpus, None, length) for length in (None, 16))
    assert packed.num_examples < padded.num_examples
    measured = quick_jit(measure, static_argnums=0)
    params = first_params(model)
    assert_trees_close(
        *(
            measured(model, params, each.take(np.arange(each.num_examples)))
            for each in (packed, padded)
        )
    )


def law_of_dropout(model):
    """What training drops depends on its key alone, and use drops nothing."""
    if model.apply_train is None:
        return
    params, tokens = first_params(model), random_tokens(3, model.lead + 2)
    train, key = quick_jit(model.apply_train), jax.random.key(1)
    first = np.asarray(train(params, tokens, key))
    assert np.array_equal(first, train(params, tokens, key))
    assert not np.array_equal(first, train(params, tokens, jax.random.key(2)))
    assert first.shape == quick_jit(model.apply)(params, tokens).shape


def law_of_populations(model):
    """Many models trained at once by vmap are those that are trained one by one."""
    data, keys = five_rows(model), jax.random.split(jax.random.key(0), 2)

    def train(key):
        state = init_state(model, OPTIMIZER, key)
        state, losses = fit(model, OPTIMIZER, state, data, num_steps=2, batch_size=4)
        return state.params, losses

    together, alone = jax.device_get(quick_jit(jax.vmap(train))(keys)), quick_jit(train)
    for i, key in enumerate(keys):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert_trees_close(one, jax.device_get(alone(key)))


def law_of_one_trace(model):
    """Two steps of training are traced once: what a step returns, it takes."""
    traces = itertools.count()

    def apply(params, tokens):
        next(traces)
        return model.apply(params, tokens)

    counting = model._replace(apply=apply)
    params = first_params(counting)
    state = TrainState(jnp.int32(0), params, OPTIMIZER.init(params), jax.random.key(0))
    batch = five_rows(model)
    state, _ = train_step(counting, OPTIMIZER, state, batch)
    first = next(traces)
    state, _ = train_step(counting, OPTIMIZER, state, batch)
    assert next(traces) == first + 1


OPTIMIZER = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
READING = {
    law_of_shapes: helpers.one_too_many,
    law_of_streaming: helpers.late_step,
    law_of_causality: helpers.leaky,
    law_of_the_latest_token: helpers.late,
    law_of_restarts: helpers.clinging,
    law_of_what_is_inside: helpers.opaque,
    law_of_leading_axes: helpers.crowded,
    law_of_finite_logits: helpers.infinite,
    law_of_target_log_probs: helpers.boastful,
    law_of_the_head: helpers.headless,
}
LEARNING = {
    law_of_gradients: helpers.deaf,
    law_of_the_first_loss: helpers.loud,
    law_of_overfitting: helpers.numb,
    law_of_packing: helpers.placed,
    law_of_dropout: helpers.sober,
    law_of_populations: helpers.careless,
    law_of_one_trace: helpers.weak,
}
LAWS = READING | LEARNING


def named(law):
    return law.__name__


def test_every_model_of_the_table_is_here():
    assert set(MODELS) <= set(ALL)
    assert set(MODELS) == set(TRAINED) | set(COUNTED)


@pytest.mark.parametrize("law", READING, ids=named)
@pytest.mark.parametrize("name", ALL)
def test_the_model_reads_by(law, name):
    law(ALL[name])


@pytest.mark.parametrize("law", LEARNING, ids=named)
@pytest.mark.parametrize("name", TRAINABLE)
def test_the_model_learns_by(law, name):
    law(TRAINABLE[name])


@pytest.mark.parametrize("name", MIXTURES_OF_ROWS | OF_REPEATS)
def test_a_model_of_models_reads_items_that_share_rows_by(name):
    """Its loss alone: counts have no gradients."""
    model = ALL[name]
    assert model.restarts
    law_of_packing(model, loss)


@pytest.mark.parametrize("name", DROPPING)
def test_a_model_that_drops_units_learns_by(name):
    law_of_dropout(DROPPING[name])
    law_of_the_head(DROPPING[name])
    law_of_gradients(DROPPING[name])


@pytest.mark.parametrize("name", DROPPING)
def test_a_model_in_use_drops_nothing(name):
    plain, dropping = small(name), DROPPING[name]
    tokens = random_tokens(3, plain.lead + 2)
    assert plain.apply_train is None
    assert_trees_identical(
        *(quick_jit(each.apply)(first_params(plain), tokens) for each in (plain, dropping))
    )


@pytest.mark.parametrize("law", LAWS, ids=named)
def test_a_broken_twin_is_caught_by(law):
    twin = LAWS[law](ALL["bigram"])
    with pytest.raises(AssertionError):
        law(twin)


def test_the_lectures_init_is_caught_by_the_law_of_the_first_loss():
    with pytest.raises(AssertionError):
        law_of_the_first_loss(mlp(V, init="lecture"))


def test_the_least_loss_of_the_32_examples_is_the_lectures():
    # "..." leads to e, o, a, i, s and nothing else is open: five times ln 5 in 32.
    assert entropy_of_five_names(3) == pytest.approx(5 / 32 * math.log(5))
    assert 5 / 32 * math.log(5) == pytest.approx(0.2515, abs=5e-5)
