// What the models in a page are built from, as mm_jax/models/layers.py has it. Arrays of parameters
// are Float32Array with a ``shape``; activations are Float64Array.
"use strict";
// By kind, a function of { arrays, numbers, context } of one member. What it returns reads an item
// symbol by symbol, and first the boundary, 0: ``start()`` is a carry, ``step(carry, id)`` returns
// the next { carry, logits }. It leaves the carry that it took as it was, to be used again.
const MODELS = {};
const LAYERS = (() => {
  // Row i of a table.
  function row(table, i) {
    const width = table.shape[1];
    return new Float64Array(table.subarray(i * width, (i + 1) * width));
  }

  const add = (x, y) => x.map((value, i) => value + y[i]);

  function concat(parts) {
    const out = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
    let place = 0;
    for (const part of parts) {
      out.set(part, place);
      place += part.length;
    }
    return out;
  }

  // x @ W + b, or x @ W.
  function dense(x, W, b) {
    const columns = W.shape[1];
    const out = b ? new Float64Array(b) : new Float64Array(columns);
    for (let i = 0, place = 0; i < x.length; i++) {
      const value = x[i];
      for (let j = 0; j < columns; j++, place++) out[j] += value * W[place];
    }
    return out;
  }

  const meanOf = (x) => x.reduce((a, b) => a + b, 0) / x.length;

  // x with a mean square of 1.
  function rmsNorm(x) {
    const size = Math.sqrt(meanOf(x.map((value) => value * value)) + 1e-5);
    return x.map((value) => value / size);
  }

  // x with mean 0 and variance 1, then scaled and, where there is a shift, shifted.
  function layerNorm(x, scale, shift) {
    const mean = meanOf(x);
    const normed = rmsNorm(x.map((value) => value - mean)); // its mean square is the variance
    return normed.map((value, i) => value * scale[i] + (shift ? shift[i] : 0));
  }

  const sigmoid = (value) => 1 / (1 + Math.exp(-value));

  const largest = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);

  function softmax(logits) {
    const top = largest(logits);
    const powers = new Float64Array(logits).map((z) => Math.exp(z - top));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((p) => p / sum);
  }

  // A model whose logits are those of the last ``context`` ids; before an item there are zeros.
  function windowed(context, predict) {
    return {
      start: () => new Array(context).fill(0),
      step(carry, id) {
        const ids = [...carry, id].slice(1);
        return { carry: ids, logits: predict(ids) };
      },
    };
  }

  return { row, add, concat, dense, rmsNorm, layerNorm, sigmoid, largest, softmax, windowed };
})();
