// Embed, concatenate, tanh layers, logits (Bengio et al. 2003), as mm_jax/models/mlp.py has it.
"use strict";
MODELS.mlp = ({ arrays, numbers, context }) => {
  const { row, concat, dense, layerNorm, windowed } = LAYERS;
  return windowed(context, (ids) => {
    const first = concat(ids.map((id) => row(arrays.C, id)));
    let x = first;
    for (let i = 1; i <= numbers.layers; i++) {
      const [W, b, g] = [arrays[`W${i}`], arrays[`b${i}`], arrays[`g${i}`]];
      x = (g ? layerNorm(dense(x, W), g, b) : dense(x, W, b)).map(Math.tanh);
    }
    const last = numbers.layers + 1;
    const logits = dense(x, arrays[`W${last}`], arrays[`b${last}`]);
    return arrays.W ? dense(first, arrays.W, logits) : logits;
  });
};
