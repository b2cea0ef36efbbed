# %% [markdown]
# # Lecture 1: bigrams, by counting and as a net
#
# A walk through the first makemore lecture with this library. Each number stands beside the
# lecture's. Random draws differ, since JAX's generator is not PyTorch's; all other numbers must
# agree. Run all of it with `mm-jax lecture 1`, or cell by cell in a notebook.

# %%
import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

import mm_jax as mm
from mm_jax.lectures.walkthrough import begin, lecture_arrays
from mm_jax.reports import plots

if __name__ == "__main__" and "ipykernel" not in sys.modules:  # python scripts/lecture_1.py
    from mm_jax.cli.main import main

    sys.exit(main(["lecture", "1", *sys.argv[1:]]))

walk = begin(1)  # has the names, and collects the numbers in a table

# %% [markdown]
# ## The names
#
# Each name is several examples at once: of how a name begins, of which letter follows which, and
# of where it ends. A bigram model looks at one symbol and predicts the next, no more. The boundary
# "." comes before and after each name, and has the id 0.

# %%
names = walk.names
vocab = mm.build_vocab(names)
V = len(vocab)
first_ten = "emma olivia ava isabella sophia charlotte mia amelia harper evelyn"
walk.must("the first ten names", first_ten, " ".join(names[:10]))
walk.on_file("names", 32_033, len(names))
lengths = [len(name) for name in names]
walk.must("letters in the shortest, the longest", [2, 15], [min(lengths), max(lengths)])
walk.must("symbols", ".abcdefghijklmnopqrstuvwxyz", "".join(vocab.symbols))
emma = f".{names[0]}."
bigrams_of_emma = [a + b for a, b in pairwise(emma)]
walk.must("bigrams of emma", ".e em mm ma a.", " ".join(bigrams_of_emma))

# %% [markdown]
# ## Counting
#
# The lecture counts with a dictionary, then in a 27 x 27 table N whose cell (i, j) is how often j
# follows i. `count_ngrams` makes that table from the whole file at once.

# %%
N = mm.count_ngrams(names, vocab, order=2)  # (V, V), in NumPy
walk.on_file("bigrams in all", 228_146, N.sum())
order = np.argsort(-N, axis=None, kind="stable")


def spell(cell: int) -> str:
    return vocab.symbols[cell // V] + vocab.symbols[cell % V]


most = " ".join(f"{spell(cell)} {N.flat[cell]:,}" for cell in order[:6])
walk.on_file("the most frequent", "n. 6,763 a. 6,640 an 5,438 .a 4,410 e. 3,983 ar 3,264", most)
q, r, d, z, m, n = (int(i) for i in mm.encode(vocab, "qrdzmn"))
walk.on_file("the least frequent, qr and dz, occur", [1, 1], [N[q, r], N[d, z]])
print(f"  {(N == 1).sum()} bigrams occur once, and {(N == 0).sum()} of {V * V} never")
walk.must('the cell ".."', 0, N[0, 0])
walk.on_file('row ".", first letters: names that begin with a', 4_410, N[0, 1])
walk.on_file('column ".", last letters: names that end with n', 6_763, N[n, 0])
walk.must("row sums equal column sums", True, bool((N.sum(0) == N.sum(1)).all()))
walk.draw("bigrams", plots.bigram_table(N, vocab))

# %% [markdown]
# Every symbol is the first of a bigram as often as the second, so the row sums of the table are its
# column sums.
#
# ## From counts to probabilities, and an easy mistake
#
# A row divided by its sum is the distribution of the next symbol. `N.sum(1, keepdims=True)` is a
# column, (27, 1), and divides each row by its own sum. Without `keepdims` its shape is (27,), which
# broadcasting treats as a row: then the columns are divided, without an error, and the first row
# sums to about 7.

# %%
P = jnp.asarray(N) / N.sum(1, keepdims=True)
walk.must("every row of P sums to 1", True, bool(jnp.allclose(P.sum(1), 1)))
mistaken = N / N.sum(1)
walk.on_file("the first row without keepdims sums to", 7.0, mistaken[0].sum(), within=0.1)
walk.must("and it is the columns that sum to 1", True, bool(np.allclose(mistaken.sum(0), 1)))
with jax.numpy_rank_promotion("raise"):
    try:
        jnp.asarray(N) / jnp.asarray(N.sum(1))
    except ValueError as error:
        print(f"  JAX can be set to refuse that: {str(error).splitlines()[0][:60]}...")

# %% [markdown]
# ## Sampling
#
# PyTorch draws with `torch.multinomial` and a generator that changes with every call. In JAX a draw
# is a function of a key: the same key gives the same draw, and another draw needs another key.

# %%
p = jnp.array([0.6, 0.3, 0.1])
many = 10_000
draws = jax.random.categorical(jax.random.key(0), jnp.log(p), shape=(many,))
often = jnp.bincount(draws, length=3) / many
sigma = float(jnp.sqrt(p * (1 - p) / many).max())
walk.may("frequencies of draws from 0.6, 0.3, 0.1", [0.6, 0.3, 0.1], often, within=5 * sigma)

key_first, key_second = jax.random.split(jax.random.key(3))
first = int(jax.random.categorical(key_first, jnp.log(P[0])))
walk.may('a first letter, from the row "."', "m", vocab.symbols[first])
walk.on_file("names that begin with m", 2_538, N[0, m])
draws = jax.random.categorical(key_second, jnp.log(P[m]), shape=(many,))
often = jnp.bincount(draws, length=V) / many
print(f"  after m come {' '.join(vocab.symbols[i] for i in draws[:20])} ...")
sigmas = jnp.where(P[m] > 0, jnp.abs(often - P[m]) / jnp.sqrt(P[m] * (1 - P[m]) / many), 0)
walk.may("10,000 of those, furthest from row m, in sigma", 0.0, sigmas.max(), within=5.0)

# %% [markdown]
# Drawn symbol by symbol until the boundary, that is a name. `sample` does so for many names at
# once; `ngram` is the counts as a model. These names are poor, but those of a model that gives all
# symbols the same probability are worse.

# %%
by_count, counts = mm.ngram(V, order=2, smoothing=0.0), {"counts": jnp.asarray(N)}
uniform = {"counts": jnp.zeros((V, V), jnp.int32)}
key = jax.random.key(42)
drawn = (mm.sample(by_count, params, key, num=20)[0] for params in (counts, uniform))
ours, theirs = (mm.decode_lines(vocab, tokens) for tokens in drawn)
print(f"  {'bigram model':18}uniform model")
for one, other in zip(ours[:10], theirs[:10], strict=True):
    print(f"  {one:18}{other[:40]}")
everything = mm.examples(counts["counts"])  # each bigram once, its count as its weight
uniform_loss = float(mm.evaluate(by_count, uniform, everything))
walk.may("samples of the bigram model", "poor", ", ".join(ours[:3]))
walk.may("samples of the uniform model", "worse", ", ".join(theirs[:2]))

# %% [markdown]
# ## How good is it? The likelihood of the data
#
# A model is as good as the probability that it gives to the data. That is a product with a factor
# below one for each bigram, too small for any float. So one sums logarithms, changes the sign so
# that low is good, and divides by their number: the loss, in nats per symbol.

# %%
walk.must(
    "probability of each, if uniform", 0.037, 1 / V, within=0.0005, why="the lecture says 3.7%"
)
for name in names[:3]:
    ids = np.array([0, *mm.encode(vocab, name), 0])
    each = P[ids[:-1], ids[1:]]
    print(f"  .{name}.  " + "  ".join(f"{value:.4f}" for value in each))
first_three = mm.windows(names[:3], vocab, context=1)
each = P[first_three.tokens[:, 0], first_three.targets]
walk.on_file("some bigrams of the first three are over 35%", True, bool(each.max() > 0.35))
print(f"  likelihood of the three {jnp.prod(each):.3g}, log-likelihood {jnp.log(each).sum():.4f}")
logs = jnp.where(N > 0, N * jnp.log(P), 0)
print(f"  of all names: likelihood {jnp.exp(logs.sum()):.0f} in float32, log {logs.sum():,.0f}")


def smoothed_loss(k: float) -> float:
    return float(mm.evaluate(mm.ngram(V, 2, smoothing=k), counts, everything))


walk.on_file("loss of all bigrams", 2.4540145, smoothed_loss(0.0))
walk.must("loss of the uniform model, ln 27", 3.2958, uniform_loss)

# %% [markdown]
# A bigram that never occurred has probability zero, and its loss is infinite: "andrejq" is
# impossible, since jq never occurs. Smoothing adds k to each count. A larger k makes the model more
# uniform.

# %%
walk.on_file("loss with 1 added to each count", 2.4545768, smoothed_loss(1.0))
walk.on_file("loss with 5 added", 2.4576827, smoothed_loss(5.0))


def loss_of(line: str, k: float) -> float:
    return float(mm.evaluate(mm.ngram(V, 2, smoothing=k), counts, mm.windows([line], vocab, 1)))


walk.on_file("andrej, with 1 added", 3.0367718, loss_of("andrej", 1.0))
walk.on_file("andrejq, nothing added", float("inf"), loss_of("andrejq", 0.0))
walk.on_file("andrejq, with 1 added", 3.4834020, loss_of("andrejq", 1.0))

# %% [markdown]
# ## The same model as a net
#
# Now by gradient descent. The examples are pairs: a symbol x, and the symbol y after it. `windows`
# makes them from lines; "emma" has five.

# %%
five = mm.windows(["emma"], vocab, context=1)
x, y = five.tokens[:, 0], five.targets
walk.must("x of emma", [0, 5, 13, 13, 1], x)
walk.must("y of emma", [5, 13, 13, 1, 0], y)
xenc = jax.nn.one_hot(x, V)  # (5, V), float32 as a matrix product needs
walk.draw("one_hot", plots.one_hot(np.asarray(xenc), [vocab.symbols[i] for i in x], vocab))

# %% [markdown]
# One neuron is a column of weights: (5, 27) @ (27, 1) is its output for each of five examples. 27
# neurons are a matrix W, and (5, 27) @ (27, 27) is 27 outputs for each: the logits. Since a one-hot
# row times W is a row of W, there is no need to multiply: `W[x]` is the same.
#
# This W is the lecture's own, drawn by PyTorch's generator with the seed 2147483647.

# %%
W = lecture_arrays("bigram")["W"]  # (V, V)
walk.must("shape of one neuron's outputs", [5, 1], (xenc @ W[:, :1]).shape)
walk.must("shape of the logits", [5, 27], (xenc @ W).shape)
walk.must("one-hot times W is W[x]", True, bool((xenc @ W == W[x]).all()))

# %% [markdown]
# Softmax by hand: exponentiate, so that all are positive, like counts; then normalise each row.

# %%
logits = W[x]
powers = jnp.exp(logits)
probs = powers / powers.sum(1, keepdims=True)
walk.must("every row of probabilities sums to 1", True, bool(jnp.allclose(probs.sum(1), 1)))
walk.must("by hand as by jax.nn.softmax", True, bool(jnp.allclose(probs, jax.nn.softmax(logits))))
of_right = probs[jnp.arange(5), y]
walk.must("probability of the right symbol", [0.0123, 0.0181, 0.0267, 0.0737, 0.0150], of_right)
walk.must("loss of each example", [4.3993, 4.0146, 3.6234, 2.6081, 4.2012], -jnp.log(of_right))

# %% [markdown]
# ## Ten steps
#
# PyTorch records the computation, and `loss.backward()` writes gradients into the tensors. JAX
# turns the function that computes the loss into one that computes its gradient, and nothing is
# changed in place: the new W is another array.

# %%


def loss_by_hand(W: jax.Array) -> jax.Array:
    logits = W[x]
    log_probs = logits - jnp.log(jnp.exp(logits).sum(1, keepdims=True))
    return -log_probs[jnp.arange(5), y].mean()


@jax.jit
def step(W: jax.Array) -> tuple[jax.Array, jax.Array]:
    loss, gradient = jax.value_and_grad(loss_by_hand)(W)
    return W - 0.1 * gradient, loss


ten_losses = []
for _ in range(10):
    W, loss = step(W)
    ten_losses.append(float(loss))
lecture_losses = [3.7693048, 3.7492127, 3.7291627, 3.7091546, 3.6891887]
lecture_losses += [3.6692665, 3.6493874, 3.6295521, 3.6097615, 3.5900159]
walk.must("emma, ten steps of 0.1 by hand", lecture_losses, ten_losses)

# %% [markdown]
# The library's own training takes the same ten steps: `bigram` is this net as a model, and `fit`
# takes many steps in one compiled program.

# %%
net = mm.bigram(V)


def descend(
    params: mm.Params, data: mm.Batch, rate: float, steps: int, strength: float | None = None
) -> tuple[mm.Params, np.ndarray]:
    """Take full-batch steps from ``params``; return the new ones, and the loss before each step."""
    config = mm.OptimizerConfig(learning_rate=rate, schedule="constant")
    optimizer = mm.make_optimizer(config, steps)
    state = mm.init_state(net, optimizer, jax.random.key(0), regularization=strength, params=params)
    state, losses = mm.fit(net, optimizer, state, data, num_steps=steps, batch_size=None)
    return state.params, np.asarray(losses)


losses = descend(lecture_arrays("bigram"), five, rate=0.1, steps=10)[1]
walk.must("emma, ten steps of 0.1 by fit", lecture_losses, losses)

# %% [markdown]
# ## All bigrams
#
# The lecture uses every bigram of the file in every step. There are only 27 x 27 different ones, so
# one example with a weight for each gives the same loss, and a step is about 250 times as fast. The
# learning rate of 50 is unusually large, and works. No such net can get below the loss of the
# counts.

# %%
trained, losses = descend(lecture_arrays("bigram"), everything, rate=50.0, steps=201)
about = "the lecture says about"
walk.may("rate 50, after 100 steps", 2.47, losses[100], within=0.005, why=about)
walk.may("rate 50, after 200 steps", 2.46, losses[200], within=0.005, why=about)
begun = int(np.argmax(losses < 2.4838))  # where its loss is the one that the lecture continues from
halfway = descend(lecture_arrays("bigram"), everything, rate=50.0, steps=begun)[0]
slow = descend(halfway, everything, rate=0.2, steps=walk.steps(20_000))[1]
print(f"  with a rate of 0.2 it continues from {slow[0]:.4f}")
walk.trained("2.4838, 20,000 steps of 0.2 later", 2.47, slow[-1], within=0.005, why=about)
print(f"  the lowest possible loss, by counting: {smoothed_loss(0.0):.4f}")

# %% [markdown]
# ## Regularisation is smoothing
#
# W = 0 gives all symbols the same probability, and so does adding a very large k to each count. A
# loss with a multiple of mean(W ** 2) added pulls W towards 0, the more so the larger the factor.

# %%
zero = {"W": jnp.zeros((V, V))}
walk.must("loss with W = 0, ln 27", 3.2958, mm.evaluate(net, zero, everything))
pulled = []
for strength, k in ((0.01, 1.0), (1.0, 100.0), (10.0, 1000.0)):
    params = descend(zero, everything, rate=10.0, steps=walk.steps(2000), strength=strength)[0]
    pulled.append(float(mm.evaluate(net, params, everything)))
    print(f"  {strength:5g} * mean(W**2): {pulled[-1]:.4f}    {k:5g} added: {smoothed_loss(k):.4f}")
walk.must("a larger factor is nearer to uniform", True, pulled == sorted(pulled))

# %% [markdown]
# ## Two ways, one model
#
# With W = log(N) the net's softmax is the normalised counts. So with the same key it samples the
# same names, symbol for symbol: counting is the solution that gradient descent approaches.

# %%
as_net = mm.sample(net, {"W": jnp.log(jnp.asarray(N))}, key, num=20)[0]
same = mm.decode_lines(vocab, as_net) == ours
walk.must("W = log(counts): the same 20 samples", True, same)
descended = mm.decode_lines(vocab, mm.sample(net, trained, key, num=20)[0])
alike = sum(a == b for a, b in zip(descended, ours, strict=True))
walk.may("the trained W: equal among 20 samples", 20, alike, why="200 steps are not the end")
for one, other in zip(ours[:5], descended[:5], strict=True):
    print(f"  {one:18}{other}")

# %% [markdown]
# ## The numbers

# %%
walk.table()
