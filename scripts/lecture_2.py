# %% [markdown]
# # Lecture 2: a multilayer perceptron
#
# A walk through the second makemore lecture with this library: the net of Bengio, Ducharme, Vincent
# and Jauvin (2003), for letters in place of words. Each number stands beside the lecture's. Run all
# of it with `mm-jax lecture 2`, or cell by cell in a notebook.

# %%
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mm_jax as mm
from mm_jax.lectures.walkthrough import begin, lecture_arrays
from mm_jax.reports import plots

if __name__ == "__main__" and "ipykernel" not in sys.modules:  # python scripts/lecture_2.py
    from mm_jax.cli.main import main

    sys.exit(main(["lecture", "2", *sys.argv[1:]]))

walk = begin(2)  # has the names, and collects the numbers in a table

# %% [markdown]
# ## A table that explodes
#
# A bigram table has a row for each of 27 symbols. A longer context makes better names, but each
# further symbol multiplies the number of rows by 27, and most rows then have few counts or none.

# %%
names = walk.names
vocab = mm.build_vocab(names)
V = len(vocab)
walk.must("contexts of 1, 2, 3 symbols", [27, 729, 19_683], [V, V**2, V**3])
for context in (1, 2, 3):
    seen = len(np.unique(mm.windows(names, vocab, context).tokens, axis=0))
    print(f"  of {V**context:,} contexts of {context} the names have {seen:,}")

# %% [markdown]
# ## The net of 2003, in words
#
# Bengio and his colleagues had a vocabulary of 17,000 words. Each word has a row of 30 numbers in a
# table of 17,000 x 30, the same table for every position. The rows of three words, side by side,
# are 90 inputs to a hidden layer with tanh, which feeds a softmax over all 17,000 words. Words with
# similar use get similar rows, and so what is learned about one holds for the other, even in
# phrases that were never seen. Here the words are letters, and a row has 2 numbers.
#
# ## The data set
#
# The context is a window of three symbols that slides over the name, padded with boundaries at the
# start.

# %%
five = mm.windows(names[:5], vocab, context=3)
X, Y = five.tokens, five.targets  # (32, 3) and (32,)
for name in names[:5]:
    batch = mm.windows([name], vocab, context=3)
    contexts = ["".join(vocab.symbols[i] for i in tokens) for tokens in batch.tokens]
    print("  " + "  ".join(f"{c} {s}" for c, s in zip(contexts, f"{name}.", strict=True)))
walk.must("examples in the first five names", 32, len(X))
targets = "5 13 13 1 0 15 12 9 22 9 1 0 1 22 1 0 9 19 1 2 5 12 12 1 0 19 15 16 8 9 1 0"
walk.must("their targets", [int(i) for i in targets.split()], Y)

# %% [markdown]
# ## The embedding
#
# The lecture's own initial arrays, as PyTorch's generator drew them: the table C, then two layers.
# Row 5 of C equals a one-hot 5 times C; indexing is that product without the zeros. An index may be
# an array of any shape.

# %%
params = lecture_arrays("mlp")
C, W1, b1, W2, b2 = (params[name] for name in ("C", "W1", "b1", "W2", "b2"))
walk.must("shape of C", [27, 2], C.shape)
walk.must("C[5] is one_hot(5) @ C", True, bool((C[5] == jax.nn.one_hot(5, V) @ C).all()))
emb = C[X]
walk.must("shape of C[X]", [32, 3, 2], emb.shape)

# %% [markdown]
# Side by side means the shape (32, 6). `reshape` does that, and so does concatenating the three
# slices. In PyTorch the first costs nothing (a view) and the second copies. Their cost in JAX is
# measured on all examples of the file: as single operations, and compiled by `jit`, which removes
# both where it can.

# %%
slices = [emb[:, i] for i in range(3)]
same = (emb.reshape(32, 6) == jnp.concatenate(slices, axis=1)).all()
walk.must("reshape to (32, 6) = concatenate", True, bool(same))

everything = mm.windows(names, vocab, context=3)


def seconds(*each: Callable[[], jax.Array], repeat: int = 9) -> list[float]:
    """Return the median time of functions called in turn, after a first call that compiles."""
    measured: list[list[float]] = [[] for _ in each]
    for turn in range(repeat + 1):
        for function, times in zip(each, measured, strict=True):
            begun = time.perf_counter()
            jax.block_until_ready(function())
            if turn:
                times.append(time.perf_counter() - begun)
    return [statistics.median(times) for times in measured]


def by_reshape(emb: jax.Array) -> jax.Array:
    return emb.reshape(len(emb), -1)


def by_concatenate(emb: jax.Array) -> jax.Array:
    return jnp.concatenate([emb[:, i] for i in range(3)], axis=1)


all_emb = C[everything.tokens]
one, other = seconds(lambda: by_reshape(all_emb), lambda: by_concatenate(all_emb))
alone = other / one
layer = [jax.jit(lambda emb, f=f: f(emb) @ W1) for f in (by_reshape, by_concatenate)]
one, other = seconds(lambda: layer[0](all_emb), lambda: layer[1](all_emb))
ratios = f"{alone:.1f}; {other / one:.1f} compiled, with a layer"
walk.may("time of concatenate / reshape", "copies / free", ratios, why="measured here")

# %% [markdown]
# ## The forward pass, and the loss by hand
#
# b1 has shape (100,), and broadcasting adds it to each of the 32 rows, as intended; the first
# lecture shows a case where it is not.

# %%
h = jnp.tanh(emb.reshape(32, 6) @ W1 + b1)
walk.must("shape of h", [32, 100], h.shape)
walk.must("h is within -1 and 1", True, bool((jnp.abs(h) <= 1).all()))
logits = h @ W2 + b2
walk.must("shape of the logits", [32, 27], logits.shape)
walk.must("parameters", 3_481, mm.num_params(params))
powers = jnp.exp(logits)
probs = powers / powers.sum(1, keepdims=True)
walk.must("every row of probabilities sums to 1", True, bool(jnp.allclose(probs.sum(1), 1)))
by_hand = -jnp.log(probs[jnp.arange(32), Y]).mean()
walk.must("loss by hand", 17.769714, by_hand)
by_optax = optax.softmax_cross_entropy_with_integer_labels(logits, Y).mean()
walk.must("loss by optax", 17.769714, by_optax)
net = mm.mlp(V, context=3, embed_dim=2, hidden_dim=100)
walk.must("loss by mm.loss of mm.mlp", 17.769714, mm.loss(net, params, five))

# %% [markdown]
# Why not by hand? One call is shorter, and its gradient is simpler. Moreover, exp(100) is more than
# a float32 can hold, and infinity / infinity is not a number. Adding the same number to every logit
# changes no probability; so the library subtracts the largest one, and then no power exceeds 1. A
# very negative logit does no harm: its power is 0.

# %%


def softmax_by_hand(*logits: float) -> jax.Array:
    powers = jnp.exp(jnp.array(logits, jnp.float32))
    return powers / powers.sum()


expected = "9.0466e-04 3.3281e-04 6.6846e-03 9.9208e-01"
for what, logits in (("-2, -3, 0, 5", (-2, -3, 0, 5)), ("the same, each plus 7", (5, 4, 7, 12))):
    walk.must(
        f"softmax of {what}", expected, " ".join(f"{p:.4e}" for p in softmax_by_hand(*logits))
    )
low, high = softmax_by_hand(-100, -3, 0, 5), softmax_by_hand(-2, -3, 0, 100)
print(f"  exp overflows from {np.log(np.finfo(np.float32).max):.2f} on")
walk.must("of -100, -3, 0, 5: all finite", True, bool(jnp.isfinite(low).all()))
walk.must("of -2, -3, 0, 100: the last is", "nan", str(high[-1]))
right = jax.nn.softmax(jnp.array([-2.0, -3, 0, 100]))
walk.must("jax.nn.softmax of that: the last is", "1.0", str(right[-1]))

# %% [markdown]
# ## Overfitting 32 examples
#
# With 3,481 parameters the net should overfit 32 examples. `fit` takes the steps, here with all
# examples in each.

# %%
sgd = mm.make_optimizer(mm.OptimizerConfig(learning_rate=0.1, schedule="constant"), 0)


def overfit(params: mm.Params) -> jax.Array:
    state = mm.init_state(net, sgd, jax.random.key(0), params=params)
    return mm.fit(net, sgd, state, five, num_steps=1001, batch_size=None)[1]


losses_of_five = overfit(params)
walk.must("loss at first", 17.769714, losses_of_five[0])
walk.must("after 1 step", 13.656403, losses_of_five[1])
walk.must("after 100 steps", 0.335449, losses_of_five[100])
walk.must(
    "after 1,000 steps", 0.256146, losses_of_five[1000], within=4e-5, why="a thousand roundings"
)

# %% [markdown]
# The loss does not reach zero, and cannot. After "..." the five names have five different letters:
# e, o, a, i, s. The best prediction there is a fifth for each, which costs ln 5 in five of the 32
# examples. That lower bound holds for every initialisation; eight others are eight nets in one
# program, by `vmap` over their keys.

# %%
starts = (X == 0).all(1)
leads_to = " ".join(vocab.symbols[i] for i in Y[starts])
walk.must('after "..." comes', "e o a i s", leads_to)
lower_bound = float(starts.sum() / 32 * jnp.log(starts.sum()))
walk.must("lower bound, (5/32) ln 5", 0.2515, lower_bound)
keys = jax.random.split(jax.random.key(1), 8)
eight = jax.vmap(lambda key: overfit(net.init(key))[-1])(keys)
print("  eight other initialisations, after 1,000 steps: " + " ".join(f"{x:.4f}" for x in eight))
walk.must("none is below the lower bound", True, bool((eight > lower_bound).all()))

# %% [markdown]
# ## Minibatches
#
# All names are over 200,000 examples, and a step on all of them is slow. A step on 32 random ones
# follows a noisy gradient; but many steps in about the right direction are better than a few in
# exactly the right one.

# %%
walk.on_file("examples in all", 228_146, len(everything.targets))
fresh = mm.init_state(net, sgd, jax.random.key(0), params=params)


def time_steps(num: int, batch_size: int | None) -> Callable[[], jax.Array]:
    return lambda: mm.fit(net, sgd, fresh, everything, num_steps=num, batch_size=batch_size)[1]


few, many = 2, walk.steps(5000)
of_all, of_32 = seconds(time_steps(few, None), time_steps(many, 32), repeat=1 if walk.quick else 3)
of_all, of_32 = of_all / few * 1e3, of_32 / many * 1e3
ratio = f"{of_all:.1f} ms / {of_32:.3f} ms = {of_all / of_32:,.0f}"
walk.may("a step of all / of 32, time", "slow / nearly instant", ratio, why="measured here")


def gradient(params: mm.Params, batch: mm.Batch) -> jax.Array:
    grads = jax.grad(mm.loss, argnums=1)(net, params, batch)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])


@jax.jit
def noise(params: mm.Params, data: mm.Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the losses of 500 minibatches, and the cosine of their gradients with that of all."""
    ids = jax.random.randint(key, (500, 32), 0, len(data.targets))
    batches = jax.tree.map(lambda array: array[ids], data)
    losses = jax.vmap(mm.loss, in_axes=(None, None, 0))(net, params, batches)
    of_all, each = gradient(params, data), jax.vmap(gradient, in_axes=(None, 0))(params, batches)
    lengths = jnp.linalg.norm(each, axis=1) * jnp.linalg.norm(of_all)
    return losses, each @ of_all / lengths


batch_losses, cosines = noise(params, everything, jax.random.key(2))
loss_of_all = float(mm.evaluate(net, params, everything))
spread = f"{batch_losses.mean():.2f} +- {batch_losses.std():.2f}"
print(f"  at first the loss of all is {loss_of_all:.2f}, of 500 minibatches {spread}")
print(f"  the cosine of their gradients with that of all: {cosines.mean():.2f} on average")


def descend(
    model: mm.Model, params: mm.Params, data: mm.Batch, rates: dict[float, int], seed: int
) -> tuple[mm.Params, np.ndarray]:
    """Take steps of 32 examples, ``rates`` {rate: steps} in turn; return parameters and losses."""
    losses = []
    for i, (rate, steps) in enumerate(rates.items()):
        key = jax.random.fold_in(jax.random.key(seed), i)
        state = mm.init_state(model, sgd, key, params=params)
        # The rate is an array in the optimizer's state, so another rate compiles nothing again.
        opt_state = optax.tree.set(state.opt_state, learning_rate=rate)
        state = dataclasses.replace(state, opt_state=opt_state)
        chunks = list(mm.fit_chunks(model, sgd, state, data, num_steps=steps, batch_size=32))
        losses += [losses_of_chunk for _, losses_of_chunk in chunks]
        params = chunks[-1][0].params
    return params, np.concatenate(losses)


after, losses = descend(net, params, everything, {0.1: walk.steps(1000)}, seed=0)
walk.trained("after 1,000 of them: some batches", 2.5, np.median(losses[-20:]), within=0.3)
walk.trained("and all examples", 2.7, mm.evaluate(net, after, everything), within=0.1)

# %% [markdown]
# ## Which learning rate?
#
# The lecture raises the rate from 0.001 to 1 over a thousand steps, 10 ** linspace(-3, 0, 1000),
# and looks for the lowest loss before the curve becomes unstable. One such curve is noisy. Here are
# 16 at once, from the lecture's initial arrays, each with its own minibatches, and the rate that
# `lr_range_test` suggests from them.

# %%
config = mm.LRRangeConfig(min=1e-3, max=1.0, num=walk.steps(1000), seeds=16)
test = mm.lr_range_test(net, sgd, fresh, everything, config, batch_size=32)
suggested = test.suggestion.lr or float("nan")
walk.trained("the valley, as a power of ten", -1.0, np.log10(suggested), within=0.5)
print(f"  suggested: {suggested:g}, {test.suggestion.reason}")
walk.draw("learning_rates", plots.lr_range(test))

# %% [markdown]
# So the rate is 0.1, and a tenth of that at the end: learning-rate decay.

# %%
half = walk.steps(50_000)
after, _ = descend(net, params, everything, {0.1: half, 0.01: half}, seed=1)
loss = float(mm.evaluate(net, after, everything))
walk.trained("trained with 0.1, then 0.01", 2.3, loss, within=0.05)
counts = mm.fit_ngram(names, vocab, order=2)
bigrams = mm.examples(counts["counts"])  # each once, weighted by its count
bigram_loss = float(mm.evaluate(mm.ngram(V, 2, smoothing=0.0), counts, bigrams))
walk.on_file("loss of the bigram counts", 2.4540, bigram_loss)
walk.trained("the net is below the bigram", True, loss < bigram_loss)

# %% [markdown]
# ## Train, dev and test
#
# A large net could memorise its data and still make no good new name. So 80% of the names are for
# training, 10% for choosing (dev), and 10% for a single evaluation at the very end (test), which
# this walk does not use.

# %%
splits = mm.split_lines(names)  # shuffled with the lecture's seed 42
train, dev, held_out = (mm.windows(part, vocab, context=3) for part in splits)
sizes = [len(part.targets) for part in (train, dev, held_out)]
walk.on_file("examples in train, dev, test", [182_625, 22_655, 22_866], sizes)


def measure(model: mm.Model, params: mm.Params) -> list[float]:
    return [float(mm.evaluate(model, params, part)) for part in (train, dev)]


after, _ = descend(net, net.init(jax.random.key(3)), train, {0.1: half, 0.01: half}, seed=3)
walk.trained("100 hidden units: train, dev", [2.3, 2.3], measure(net, after), within=0.05)

# %% [markdown]
# Train and dev are equal: the net is too small to memorise its data, it underfits. So a larger
# hidden layer is next.

# %%
wide = mm.mlp(V, context=3, embed_dim=2, hidden_dim=300)
start = wide.init(jax.random.key(4))
walk.must("parameters with 300 hidden units", 10_281, mm.num_params(start))
half = walk.steps(100_000)
after, losses = descend(wide, start, train, {0.1: half, 0.01: half}, seed=4)
walk.trained("300 hidden units: train, dev", [2.23, 2.24], measure(wide, after), within=0.02)
walk.draw("losses_300", plots.losses(losses, "300 hidden units, an embedding of 2"))

# %% [markdown]
# The curve is noisy since a minibatch is small. What did the embedding learn? Two dimensions can be
# drawn: the vowels are close together, since their use is similar, and "." and q are far from all.

# %%
table = np.asarray(after["C"])
walk.draw("embedding", plots.embedding(table, vocab))

# %%
apart = np.linalg.norm(table[:, None] - table, axis=-1)  # (V, V), distances
vowels, (q,) = mm.encode(vocab, "aeiou"), mm.encode(vocab, "q")
others = ~np.eye(V, dtype=bool)
among = apart[np.ix_(vowels, vowels)].sum() / (5 * 4)  # those to themselves are 0
distances = f"{among:.2f} / {apart[others].mean():.2f}"
walk.trained("distance among vowels / among all", "together", distances)
nearest = np.where(others, apart, np.inf).min(1)
distances = f"q {nearest[q]:.2f}, . {nearest[0]:.2f}, median {np.median(nearest):.2f}"
walk.trained("distance to the nearest other", "q, . apart", distances)

# %% [markdown]
# ## A wider embedding
#
# Two dimensions may be too few. With 10, and 200 hidden units: 50,000 steps of 0.1, 50,000 of 0.01,
# some more; then the lecture's last run, 200,000 steps with a tenth of the rate from the middle on.

# %%
model = mm.mlp(V, context=3, embed_dim=10, hidden_dim=200)
start = model.init(jax.random.key(5))
walk.must("parameters with 10 and 200", 11_897, mm.num_params(start))
part = walk.steps(50_000)
first, _ = descend(model, start, train, {0.1: part}, seed=5)
walk.trained("50,000 steps of 0.1", [2.3, 2.38], measure(model, first), within=0.05)
second, _ = descend(model, first, train, {0.01: part}, seed=6)
walk.trained("50,000 more of 0.01", [2.17, 2.20], measure(model, second), within=0.05)
third, _ = descend(model, second, train, {0.01: part}, seed=7)
walk.trained("a little longer", [2.16, 2.19], measure(model, third), within=0.05)

half = walk.steps(100_000)
last, losses = descend(model, start, train, {0.1: half, 0.01: half}, seed=8)
walk.trained("200,000 steps: train, dev", [2.126, 2.170], measure(model, last), within=0.02)
walk.draw("losses", plots.losses(losses, "200 hidden units, an embedding of 10"))

# %% [markdown]
# ## New names
#
# Start with three boundaries, draw a symbol, shift the window, and repeat until a boundary is
# drawn.

# %%
tokens = mm.sample(model, last, jax.random.key(9), num=20)[0]
new_names = mm.decode_lines(vocab, tokens)
known = set(names)
for name in new_names:
    print(f"  {name}" + ("  (a name of the file)" if name in known else ""))
walk.trained("20 samples", "name-like", ", ".join(new_names[:4]))

# %% [markdown]
# ## Beyond the lecture
#
# The lecture ends with a challenge: get below 2.17 on dev, by other sizes of layers, embedding,
# context or batch, by another schedule, or by ideas from the paper. The preset `modern` reads six
# symbols, has fewer parameters, starts near the uniform distribution, and uses AdamW with a cosine
# schedule. Four such nets are trained at once, as one population, each with its own key. The
# ensemble that averages their probabilities is better than each of them: where one is wrong, others
# are not. Compare that with counting, done well (Kneser-Ney), after five symbols.

# %%
preset = mm.PRESETS["modern"].config
modern = mm.build_model(preset.model, V)
longer_train, longer_dev = (mm.windows(part, vocab, modern.context) for part in splits[:2])
steps = walk.steps(preset.steps)
optimizer = mm.make_optimizer(preset.optimizer, steps)
state = mm.population.init(modern, optimizer, jax.random.split(jax.random.key(0), 4))
chunk, size = max(1, steps // 80), preset.batch_size
for _chunk in range(steps // chunk):
    state, _losses = mm.population.fit(
        modern, optimizer, state, longer_train, num_steps=chunk, batch_size=size
    )
members = mm.population.evaluate(modern, state.params, longer_dev)
together = float(mm.evaluate(mm.ensemble(modern, 4), state.params, longer_dev))
better = float(members.mean())
walk.trained("the challenge: dev below 2.17", 2.17, better, why="the preset modern, four seeds")
counted = mm.fit_kneser_ney(splits.train, vocab, order=6)
by_counts = mm.evaluate(mm.kneser_ney(V, order=6), counted, mm.windows(splits.dev, vocab, 5))
size = mm.num_params(state.params) // len(members)
print(f"  {size:,} parameters: {' '.join(f'{loss:.3f}' for loss in members)} on dev")
print(f"  the four as an ensemble: {together:.3f}; by counting: {by_counts:.3f}")
print("  mm-jax train --preset modern --seeds 4   mm-jax count --order 6 --smoothing kneser-ney")

# %% [markdown]
# ## The numbers

# %%
walk.table()
