// The Transformer of GPT-2, or of microgpt, as mm_jax/models/transformer.py has it. The carry is
// the keys and values of the symbols so far, so that one more symbol is one step.
"use strict";
MODELS.transformer = ({ arrays, numbers }) => {
  const { row, add, dense, rmsNorm, layerNorm, softmax } = LAYERS;
  const product = (x, name) => dense(x, arrays[`${name}.W`], arrays[`${name}.b`]);
  const norm = (x, name) => numbers.norm === "rms" ? rmsNorm(x)
    : layerNorm(x, arrays[`${name}.scale`], arrays[`${name}.shift`]);
  const ACTIVATIONS = {
    relu: (z) => Math.max(0, z),
    gelu: (z) => 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))),
  };

  // The mean of the values, weighted in each head by how query and key agree.
  function attend(query, keys, values) {
    const size = query.length / numbers.heads;
    const mixed = new Float64Array(query.length);
    const scores = new Float64Array(keys.length);
    for (let begin = 0; begin < query.length; begin += size) {
      for (let place = 0; place < keys.length; place++) {
        const key = keys[place];
        let score = 0;
        for (let i = begin; i < begin + size; i++) score += query[i] * key[i];
        scores[place] = score / Math.sqrt(size);
      }
      const weights = softmax(scores);
      for (let place = 0; place < keys.length; place++) {
        const value = values[place];
        const weight = weights[place];
        for (let i = begin; i < begin + size; i++) mixed[i] += weight * value[i];
      }
    }
    return mixed;
  }

  // What a block makes of a symbol, and the keys and values with its own.
  function block(x, name, cache) {
    const qkv = product(norm(x, `${name}.norm1`), `${name}.qkv`);
    const D = x.length;
    const [query, key, value] = [0, 1, 2].map((i) => qkv.subarray(i * D, (i + 1) * D));
    const [keys, values] = [[...cache.keys, key], [...cache.values, value]];
    const y = add(x, product(attend(query, keys, values), `${name}.out`));
    const h = product(norm(y, `${name}.norm2`), `${name}.up`).map(ACTIVATIONS[numbers.activation]);
    return { x: add(y, product(h, `${name}.down`)), cache: { keys, values } };
  }

  // The products with the rows of the embedding, or with a head of its own.
  function logitsOf(x) {
    if (arrays["head.W"]) return product(x, "head");
    const logits = new Float64Array(arrays.wte.shape[0]);
    for (let id = 0; id < logits.length; id++) {
      for (let i = 0; i < x.length; i++) logits[id] += x[i] * arrays.wte[id * x.length + i];
    }
    return logits;
  }

  const layers = Array.from({ length: numbers.layers }, (_, i) => `layer${i + 1}`);
  return {
    start: () => ({ place: 0, caches: layers.map(() => ({ keys: [], values: [] })) }),
    step({ place, caches }, id) {
      let x = add(row(arrays.wte, id), row(arrays.wpe, place));
      if (numbers.norm === "rms") x = rmsNorm(x);
      const after = layers.map((name, i) => {
        const out = block(x, name, caches[i]);
        x = out.x;
        return out.cache;
      });
      const last = numbers.norm === "rms" ? x : norm(x, "norm");
      return { carry: { place: place + 1, caches: after }, logits: logitsOf(last) };
    },
  };
};
