// Elements made of plain values: text is only ever a text node, so what a model wrote can never become a part of the page.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

export function told(sentence, { mistake = false } = {}) {
  const place = document.getElementById("told");
  place.textContent = sentence;
  place.classList.toggle("mistake", mistake);
}

export const count = (number) => number.toLocaleString("en");
export const share = (probability) => (probability === null || probability === undefined ? "–" : probability.toFixed(2));

// Whether keys belong to a field in which somebody is typing.
export function isTyping(target) {
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !["radio", "checkbox", "button", "submit"].includes(target.type);
}

export function keyChoice(type, name, value, key, text, checked, onchange) {
  const input = el("input", { type, name, value: String(value), checked, onchange });
  return el("label", { class: "key-choice" }, input, text, key ? el("kbd", {}, key) : null);
}
