// The longest known context at the end of the window, and what the shorter ones say: Kneser-Ney,
// as mm_jax/models/backoff.py has it.
"use strict";
MODELS.backoff = ({ arrays, context }) => {
  const { parents, gammas, first, symbols, shares, following, logits, next } = arrays;

  // The place of the n-gram of a state and a symbol, or -1 where there is none.
  function find(state, id) {
    let [low, high] = [first[state], first[state + 1]];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (symbols[middle] < id) low = middle + 1; else high = middle;
    }
    return low < first[state + 1] && symbols[low] === id ? low : -1;
  }

  // The state after one more symbol.
  function advance(state, id) {
    let place = -1;
    while (state > 0 && (place = find(state, id)) < 0) state = parents[state];
    return place < 0 ? next[id] : following[place];
  }

  return LAYERS.windowed(context, (ids) => {
    let state = ids.reduce(advance, 0), weight = 1;
    const p = new Float64Array(logits.length);
    for (; state > 0; state = parents[state]) {
      for (let i = first[state]; i < first[state + 1]; i++) p[symbols[i]] += weight * shares[i];
      weight *= gammas[state];
    }
    return p.map((x, id) => Math.log(x + weight * Math.exp(logits[id])));
  });
};
