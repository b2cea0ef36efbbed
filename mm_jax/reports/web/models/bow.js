// The mean of all symbols so far, then a small net, as mm_jax/models/bow.py has it.
"use strict";
MODELS.bow = ({ arrays: { C, P, W1, b1, W2, b2, W3, b3 } }) => {
  const { row, add, dense } = LAYERS;
  return {
    start: () => ({ total: new Float64Array(C.shape[1]), count: 0 }),
    step(carry, id) {
      const own = add(row(C, id), row(P, carry.count));
      const [total, count] = [add(carry.total, own), carry.count + 1];
      const x = add(own, total.map((sum) => sum / count));
      const h = dense(x, W1, b1).map(Math.tanh);
      return { carry: { total, count }, logits: dense(add(x, dense(h, W2, b2)), W3, b3) };
    },
  };
};
