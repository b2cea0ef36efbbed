// The nearest symbols of the one that is typed, in the embedding that the model of this page has.
"use strict";
(() => {
  const { model, arrays, byId, element, readable } = PAYLOAD;
  const { symbols } = model;
  const [table, [V, D]] = [arrays[model.embedding], model.shapes[model.embedding]];
  const NUM_NEAREST = 10;
  const MAX_SUGGESTIONS = 20;
  const names = symbols.map(readable);
  const ids = new Map([...names, ...symbols].map((name, i) => [name, i % V]));
  const [form, input, known, problem, nearest] =
    ["lookup", "looked-up", "known", "not-known", "nearest"].map(byId);

  function distance(i, k) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += (table[i * D + d] - table[k * D + d]) ** 2;
    return Math.sqrt(squares);
  }

  // The nearest symbols of one, the nearest first; of those equally near the first ones.
  function nearestOf(id) {
    const near = [];
    for (let k = 0; k < V; k++) {
      if (k === id) continue;
      const far = distance(id, k);
      if (near.length === NUM_NEAREST && far >= near.at(-1).far) continue;
      const place = near.findIndex((each) => each.far > far);
      near.splice(place < 0 ? near.length : place, 0, { id: k, far });
      near.length = Math.min(near.length, NUM_NEAREST);
    }
    return near;
  }

  // The typed symbol: as it is, or, white space being one too, without the space around it.
  function typed() {
    const text = model.lower ? input.value.toLowerCase() : input.value;
    return ids.has(text) ? text : text.trim();
  }

  function suggest(text) {
    const found = [];
    for (let k = 0; text && k < V && found.length < MAX_SUGGESTIONS; k++) {
      if (names[k].startsWith(text)) found.push(element("option", "", { value: names[k] }));
    }
    known.replaceChildren(...found);
  }

  function update() {
    const text = typed();
    suggest(text);
    problem.textContent = "";
    const near = ids.has(text) ? nearestOf(ids.get(text)) : [];
    nearest.replaceChildren(...near.map(({ id, far }) => {
      const item = element("li", "", { "data-id": id, "data-distance": far });
      item.append(element("bdi", names[id]), " ", element("span", far.toFixed(2), { class: "quiet" }));
      return item;
    }));
  }

  // Only what is asked for is not known: what is being typed is not yet a word.
  function check() {
    const text = typed();
    if (text && !ids.has(text)) problem.textContent = `The model does not know “${readable(text)}”.`;
  }

  input.addEventListener("input", update);
  input.addEventListener("change", check);
  form.addEventListener("submit", (event) => { event.preventDefault(); update(); check(); });
  form.hidden = false;
})();
