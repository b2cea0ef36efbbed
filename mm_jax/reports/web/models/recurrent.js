// Recurrent nets of several layers, as mm_jax/models/recurrent.py has them.
"use strict";
MODELS.recurrent = ({ arrays, numbers }) => {
  const { row, add, dense, sigmoid } = LAYERS;
  const H = arrays.U1.shape[0];
  const part = (x, i) => x.subarray(i * H, (i + 1) * H); // the columns of gate i

  // The next state, from the products of the input, the last state and U; its first is the output.
  const CELLS = {
    rnn: (x, [h], U) => [add(x, dense(h, U)).map(Math.tanh)],
    gru(x, [h], U) {
      const gates = add(x, dense(h, U)).map(sigmoid);
      const [reset, update] = [part(gates, 0), part(gates, 1)];
      const kept = dense(h.map((value, j) => reset[j] * value), U);
      const fresh = add(part(x, 2), part(kept, 2)).map(Math.tanh);
      return [h.map((value, j) => value + update[j] * (fresh[j] - value))];
    },
    lstm(x, [h, c], U) {
      const sums = add(x, dense(h, U));
      const [enter, forget, output] = [0, 1, 2].map((i) => part(sums, i).map(sigmoid));
      const fresh = part(sums, 3).map(Math.tanh);
      const cell = c.map((value, j) => forget[j] * value + enter[j] * fresh[j]);
      return [cell.map((value, j) => output[j] * Math.tanh(value)), cell];
    },
  };

  const layers = Array.from({ length: numbers.layers }, (_, i) => i + 1);
  const numStates = numbers.cell === "lstm" ? 2 : 1;
  return {
    start: () => layers.map(() => Array.from({ length: numStates }, () => new Float64Array(H))),
    step(carry, id) {
      let x = row(arrays.embed, id);
      const after = layers.map((i) => {
        const products = dense(x, arrays[`W${i}`], arrays[`b${i}`]);
        const state = CELLS[numbers.cell](products, carry[i - 1], arrays[`U${i}`]);
        x = state[0];
        return state;
      });
      return { carry: after, logits: dense(x, arrays.headW, arrays.headb) };
    },
  };
};
