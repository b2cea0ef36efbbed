// A row of logits for each context: counts of n-grams, and the neural bigram.
"use strict";
MODELS.table = ({ arrays: { logits }, numbers }) => {
  const V = logits.shape.at(-1);
  return LAYERS.windowed(numbers.context, (ids) => {
    const row = ids.reduce((sum, id) => sum * V + id, 0);
    return logits.subarray(row * V, (row + 1) * V);
  });
};
