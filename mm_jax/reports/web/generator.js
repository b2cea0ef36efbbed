// The model whose parameters are in this page, read symbol by symbol, and the controls around it.
"use strict";
(() => {
  const { model, arrays, byId, element, readable } = PAYLOAD;
  const { symbols, unit } = model;
  const { largest, softmax } = LAYERS;
  const V = symbols.length;
  // As NUM_SHADES of page_tables.py and MAX_SURPRISE of plots/symbols.py.
  const [NUM_SHADES, MAX_SURPRISE] = [8, 6];
  const MAX_BARS = 64; // of a larger alphabet the likeliest symbols
  const MAX_WAIT = 50; // milliseconds for which the page does nothing but draw
  const ids = new Map(symbols.slice(1).map((symbol, i) => [symbol, i + 1])); // 0: the boundary

  // The net of member m, as layers.js says.
  function memberOf(m) {
    const own = Object.entries(arrays).map(([name, all]) => {
      const size = all.length / model.members;
      const array = all.subarray(m * size, (m + 1) * size);
      return [name, Object.assign(array, { shape: model.shapes[name] })];
    });
    const { numbers, context } = model;
    return MODELS[model.kind]({ arrays: Object.fromEntries(own), numbers, context });
  }
  const nets = Array.from({ length: model.members }, (_, m) => memberOf(m));

  // As data/word_tokens.py: a number, and the end of a sentence, whose dot follows no initial and no
  // abbreviation. The two symbols are single characters in the text before it is split.
  const NUMBER =
    /(?<![\p{L}\p{N}])(?<!\p{L}['’-])\d+(?:[.,]\d+)*(?![\p{L}\p{N}]|[.,]\d)(?!['’-]\p{L})|<num>/gu;
  const END = /([.!?]+)["'”’)\]}»]*(?=\s|$)/gu;
  const SHOWN = { "\ufdd0": "<num>", "\ufdd1": "</s>" };
  const abbreviations = model.abbreviations && new Set(model.abbreviations);
  function endsNone(word) {
    return abbreviations.has(word.toLowerCase()) || /^\p{L}$/u.test(word);
  }
  function withMarks(text) {
    let marked = text.replace(/[\ufdd0\ufdd1]/g, "");
    if (model.merge_numbers) marked = marked.replace(NUMBER, "\ufdd0");
    if (abbreviations) {
      marked = marked.replace(END, (end, marks, place, all) => {
        const before = all.slice(0, place);
        const word = /\S$/.test(before) && marks === "." ? before.match(WORDS).at(-1) : "";
        return endsNone(word) ? end : end + "\ufdd1";
      });
    }
    return marked;
  }

  // As data/words.py: runs of letters and digits, single marks, line breaks.
  const WORDS = /[\p{L}\p{N}]+(?:['’-]?[\p{L}\p{N}]+|\p{M}+)*|\S|\n/gu;

  // The tokens of a text: characters, words, or bytes.
  function split(text) {
    if (unit === "byte") return Array.from(new TextEncoder().encode(text), (b) => symbols[b + 1]);
    const typedText = model.lower ? text.toLowerCase() : text;
    if (unit !== "word") return Array.from(typedText);
    return (withMarks(typedText).match(WORDS) || []).map((word) => SHOWN[word] ?? word);
  }

  // Whether a space may stand before and after a word or mark, in the most usual cases of
  // data/words.py; ``open`` has the quotes that are open.
  function spaces(word, before, after, open) {
    if (word === "\n") open.clear();
    if (word.length > 1 || /[\p{L}\p{N}]/u.test(word)) return [true, true];
    if (/[\n/—。，、！？；：「」『』（）《》]/u.test(word)) return [false, false];
    if (/["'_`]/.test(word)) {
      if (!open.delete(word)) open.add(word);
      return [open.has(word), !open.has(word)];
    }
    if (/[,.;:!?%…]/.test(word)) {
      const inNumber = /^\d+$/.test(before) && /^\d+$/.test(after) &&
        (/[.:]/.test(word) || (word === "," && after.length === 3));
      return [false, !inNumber];
    }
    return [!/[\p{Pe}\p{Pf}]/u.test(word), !/[\p{Ps}\p{Pi}$#@¿¡]/u.test(word)];
  }

  // The text that tokens are.
  function join(past) {
    if (unit === "byte") return new TextDecoder().decode(Uint8Array.from(past, (id) => id - 1));
    const all = past.map((id) => symbols[id]);
    if (unit !== "word") return all.join("");
    const tokens = [], ends = new Set(); // the number of words before each end of a sentence
    for (const word of all) {
      if (abbreviations && word === "</s>") ends.add(tokens.length); else tokens.push(word);
    }
    let inEnd = false; // whether a space here would end a sentence
    const open = new Set();
    let text = "", gap = false;
    tokens.forEach((word, i) => {
      const [before, after] = spaces(word, tokens[i - 1] || "", tokens[i + 1] || "", open);
      const space = inEnd ? ends.has(i) && word !== "\n" : gap && before;
      text += (space ? " " : "") + word;
      gap = after;
      const isMark = /^[.!?]$/.test(word), closes = /^["'”’)\]}»]$/.test(word);
      const isAbbreviated = () => word === "." && endsNone(tokens[i - 1] || "");
      inEnd = abbreviations && (isMark || (inEnd && !space && closes)) && !isAbbreviated();
    });
    return text;
  }

  // What is known after one more symbol: the carry of each member, and the probability of each
  // next symbol, the mean over the members.
  function advance(carries, id) {
    const mean = new Array(V).fill(0);
    const after = nets.map((net, m) => {
      const { carry, logits } = net.step(carries[m], id);
      softmax(logits).forEach((p, i) => { mean[i] += p / nets.length; });
      return carry;
    });
    const left = 1 - mean[0]; // a document does not end
    const p = model.endless ? mean.map((each, i) => (i === 0 ? 0 : each / left)) : mean;
    return { id, carries: after, p };
  }

  // What is known after the boundary and after each of these ids. What they have in common with
  // the last ones is not read again, so that a typed symbol is one step.
  const states = [];
  function read(past) {
    const all = [0, ...past];
    let same = 0;
    while (same < all.length && states[same]?.id === all[same]) same++;
    states.length = same;
    for (const id of all.slice(same)) {
      const last = states.at(-1);
      states.push(advance(last ? last.carries : nets.map((net) => net.start()), id));
    }
    return states;
  }

  // p ** (1 / temperature), normalised; 0 takes the likeliest symbol.
  function tempered(p, temperature) {
    if (temperature === 0) {
      const best = p.indexOf(largest(p));
      return p.map((_, id) => (id === best ? 1 : 0));
    }
    return softmax(p.map((x) => Math.log(x) / temperature));
  }

  function draw(p) {
    let remaining = Math.random();
    for (let id = 0; id < V; id++) {
      remaining -= p[id];
      if (remaining < 0) return id;
    }
    return p.indexOf(largest(p)); // only by rounding
  }

  // Append symbols to ``all`` until the line ends, one in each turn.
  function* grow(all, state, temperature) {
    for (;;) {
      const id = draw(tempered(state.p, temperature));
      if (id === 0) return;
      all.push(id);
      if (all.length >= model.max_len) return; // a model may have no position for it
      yield;
      state = advance(state.carries, id);
    }
  }

  const percent = (p) =>
    p > 0 && p < 5e-5 ? "<0.01%" : (100 * p).toFixed(p < 0.0995 ? 2 : 1) + "%";
  const [slider, bars, typed, problem, names] =
    ["temperature", "bars", "typed", "problem", "names"].map(byId);
  let prefix = byId("prefix");
  if (ids.has("\n") || unit === "byte") { // items of several lines need more than one to type in
    const area = document.createElement("textarea");
    for (const { name, value } of prefix.attributes) if (name !== "type") area.setAttribute(name, value);
    area.rows = 2;
    prefix.replaceWith(area);
    prefix = area;
  }
  if (symbols.some((symbol) => Array.from(symbol).length > 2)) bars.classList.add("words");
  if (model.max_len > 64) names.style.columns = 1; // long ones do not fit side by side
  if (model.endless) document.querySelector("#ask button").textContent = "Sample";

  // The ids of the typed symbols, or null where they cannot be used.
  function readPrefix() {
    const typedSymbols = split(prefix.value);
    const known = (symbol) => ids.get(symbol) ?? (unit === "word" ? ids.get("<unk>") : undefined);
    const unknown = typedSymbols.find((symbol) => known(symbol) === undefined);
    problem.textContent = "";
    if (unknown !== undefined) {
      problem.textContent = `The model does not know “${readable(unknown)}”.`;
    } else if (typedSymbols.length >= model.max_len) {
      problem.textContent = `That is too long: a line here has at most ${model.max_len} symbols.`;
    } else {
      return typedSymbols.map(known);
    }
    return null;
  }

  function update() {
    const temperature = Number(slider.value);
    byId("degrees").textContent = temperature.toFixed(1);
    const past = readPrefix();
    typed.replaceChildren();
    bars.replaceChildren();
    if (past === null) return;
    const after = read(past);
    past.forEach((id, place) => {
      const p = after[place].p[id];
      const shade = Math.min(NUM_SHADES, Math.round(-Math.log(p) * NUM_SHADES / MAX_SURPRISE));
      typed.append(element("span", `${readable(symbols[id])} ${percent(p)}`, { class: `s${shade}` }));
    });
    const p = tempered(after.at(-1).p, temperature);
    let order = p.map((_, id) => id);
    if (model.endless) order = order.slice(1);
    if (V > MAX_BARS) order = order.sort((a, b) => p[b] - p[a]).slice(0, MAX_BARS);
    const highest = largest(p);
    for (const id of order) {
      const name = id === 0 ? "end" : readable(symbols[id]);
      const bar = element("button", "", {
        type: "button", class: "bar", "data-id": id, "data-probability": p[id],
      });
      // A byte that is no character of its own cannot stand in the text before.
      bar.disabled = id === 0 || (unit === "byte" && id > 128);
      const length = element("i", "");
      length.style.width = `${100 * p[id] / highest}%`;
      bar.append(element("b", name), " ", length, element("em", percent(p[id])));
      bar.addEventListener("click", () => {
        prefix.value = join([...past, id]);
        update();
        const replaced = bars.querySelector(`[data-id="${id}"]`); // update() made new bars
        (replaced || prefix).focus();
      });
      bars.append(bar);
    }
  }

  // Show new lines. However long that takes, the page answers; a new request ends this one.
  let request = 0;
  async function sample() {
    const past = readPrefix();
    if (past === null) return;
    const [own, first, temperature] = [++request, read(past).at(-1), Number(slider.value)];
    let resumed = performance.now();
    names.replaceChildren();
    names.setAttribute("aria-busy", "true");
    for (let left = model.endless ? 3 : 10; left > 0; left--) {
      const all = [...past];
      for (const _ of grow(all, first, temperature)) {
        if (performance.now() - resumed < MAX_WAIT) continue;
        await new Promise((done) => setTimeout(done));
        if (own !== request) return;
        resumed = performance.now();
      }
      const seen = (c) => (c !== "\n" && /\p{C}/u.test(c) ? readable(c) : c);
      const item = document.createElement("li");
      item.append(element("bdi", Array.from(join(all), seen).join("")));
      names.append(item);
    }
    names.removeAttribute("aria-busy");
  }

  prefix.addEventListener("input", update);
  slider.addEventListener("input", update);
  byId("ask").addEventListener("submit", (event) => { event.preventDefault(); sample(); });
  update();
  sample();
})();
