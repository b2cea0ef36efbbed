// Embed, then fuse neighbours in pairs until one is left, as mm_jax/models/wavenet.py has it.
"use strict";
MODELS.wavenet = ({ arrays, numbers }) => {
  const { row, concat, dense, layerNorm, windowed } = LAYERS;

  // What layer i makes of two neighbours.
  function fuse(pair, i) {
    const [W, b, g] = [arrays[`W${i}`], arrays[`b${i}`], arrays[`g${i}`]];
    const x = numbers.norm === "layer" ? layerNorm(dense(pair, W), g, b) : dense(pair, W, b);
    return x.map(Math.tanh);
  }

  return windowed(numbers.context, (ids) => {
    let places = ids.map((id) => row(arrays.C, id));
    for (let i = 1; i <= numbers.layers; i++) {
      const fused = [];
      for (let k = 0; k < places.length; k += 2) {
        fused.push(fuse(concat([places[k], places[k + 1]]), i));
      }
      places = fused;
    }
    const last = numbers.layers + 1;
    return dense(places[0], arrays[`W${last}`], arrays[`b${last}`]);
  });
};
