// The model that this page carries, decoded once, and what the scripts that show it have in common.
"use strict";
const PAYLOAD = (() => {
  const byId = (id) => document.getElementById(id);
  const model = JSON.parse(byId("model").textContent);
  const arrays = {};
  for (const [name, text] of Object.entries(model.arrays)) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    arrays[name] = new Float32Array(bytes.buffer); // little-endian, members one after another
  }

  // The symbol, or its code point where it could not be seen.
  function readable(symbol) {
    if (symbol === " ") return "␣";
    if (symbol === "\n") return "⏎";
    if (Array.from(symbol).length > 1) return symbol;
    return /[\p{C}\p{M}\p{Z}]/u.test(symbol)
      ? "U+" + symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") : symbol;
  }

  function element(tag, text, attributes = {}) {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  return { model, arrays, byId, element, readable };
})();
