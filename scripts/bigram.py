"""Two ways to a bigram model, counting and gradient descent, and the proof that they are one.

    python scripts/bigram.py [--data names|lecture-names|PATH]

The first makemore lecture makes this point at its end; here it is, number by number.
"""

import argparse
import sys

import jax
import jax.numpy as jnp

import mm_jax as mm


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="names", help="names, lecture-names, or a path")
    try:
        lines = mm.read_lines(parser.parse_args().data).lines
    except mm.InputError as error:
        parser.error(str(error))
    vocab = mm.build_vocab(lines)
    V, key = len(vocab), jax.random.key(0)

    print("Counting: the table of bigrams, its rows normalised.")
    counts = jnp.asarray(mm.count_ngrams(lines, vocab, order=2))  # (V, V)
    everything = mm.examples(counts)  # each of V x V bigrams once, weighted by its count
    for k in (0.0, 1.0, 5.0):
        loss = mm.evaluate(mm.ngram(V, 2, smoothing=k), {"counts": counts}, everything)
        print(f"  {k:g} added to every count: {loss:.7f} nats per symbol")

    print("A net: one matrix W, logits = W[last symbol], by gradient descent on all bigrams.")
    net = mm.bigram(V)
    trained = {}
    for name, rate, steps in (("sgd", 50.0, 200), ("lbfgs", 1.0, 600)):
        config = mm.OptimizerConfig(name, learning_rate=rate, schedule="constant")
        optimizer = mm.make_optimizer(config, steps)
        state = mm.init_state(net, optimizer, key)
        state, losses = mm.fit(net, optimizer, state, everything, num_steps=steps, batch_size=None)
        trained[name] = state.params
        loss = mm.evaluate(net, state.params, everything)
        print(f"  {name}: {losses[0]:.4f} at first, {loss:.7f} after {steps} steps")

    print("They are one model.")
    off = jnp.abs(jax.nn.softmax(trained["lbfgs"]["W"]) - mm.probs(counts))
    often = counts.sum(1) >= 500
    print(f"  softmax(W) is within {off[often].max():.4f} of the normalised counts (frequent rows)")
    W = {"W": jnp.log(counts + 1.0)}
    by_count = mm.ngram(V, 2, smoothing=1.0), {"counts": counts}
    by_both = [mm.evaluate(*pair, everything) for pair in ((net, W), by_count)]
    print(f"  W = log(counts + 1): {by_both[0]:.7f}; counts with 1 added: {by_both[1]:.7f}")
    ours, theirs = (mm.sample(*pair, key, num=5)[0] for pair in ((net, W), by_count))
    print(f"  with the same key W makes      {' '.join(mm.decode_lines(vocab, ours))}")
    print(f"  and with it the counts make    {' '.join(mm.decode_lines(vocab, theirs))}")
    gradient = jax.grad(mm.loss, argnums=1)(net, {"W": jnp.log(counts)}, everything)
    print(f"  the gradient at W = log(counts) is at most {jnp.abs(gradient['W']).max():.1e}")

    print("Regularization of the net is smoothing of the counts: both lead to the uniform one.")
    print(f"  uniform: {jnp.log(V):.4f} nats per symbol")
    optimizer = mm.make_optimizer(mm.OptimizerConfig("lbfgs"), 100)
    for strength, k in ((0.01, 1.0), (1.0, 1e2), (1e2, 1e4), (1e4, 1e6)):
        state = mm.init_state(net, optimizer, key, regularization=strength)
        state, _ = mm.fit(net, optimizer, state, everything, num_steps=100, batch_size=None)
        by_net = mm.evaluate(net, state.params, everything)
        counted = mm.evaluate(mm.ngram(V, 2, smoothing=k), {"counts": counts}, everything)
        print(f"  {strength:g} * mean(W**2): {by_net:.4f}    {k:g} added: {counted:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
