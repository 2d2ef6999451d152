// The view of chains: filters, a list, and the chain that is chosen.

import { get } from "./api.js";
import { showChain } from "./chain.js";
import { count, el, fill, told } from "./dom.js";

const PAGE = 50;
const FILTERS = { tag: "Tag", principle: "Principle", gate: "Gate", verdict: "Verdict", answer: "Answer", model: "Model", quality: "Quality filter" };

export const KEYS = [["j", "next chain"], ["k", "chain before"], ["n", "next page"], ["p", "page before"], ["/", "search"]];

const state = { offset: 0, total: 0, chains: [], chosen: null, query: {}, asked: 0, read: null };
let list, detail, pager, fields, known;

export function open(main, place) {
  known = "";
  list = el("ul", { class: "chains", "aria-label": "Chains" });
  detail = el("article", { "aria-label": "The chosen chain" });
  pager = el("div", { class: "pager" });
  fields = el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() });
  fill(main, fields, el("div", { class: "two" }, el("div", {}, pager, list), detail));
  update(place);
  return load();
}

// Called again while there may be more: other values to filter by, and more chains in the list.
export function update(place) {
  if (state.read !== null && state.read !== place.read) refresh();
  state.read = place.read;
  const now = JSON.stringify(place.facets);
  if (!fields || now === known) return;
  const focused = fields.contains(document.activeElement) ? document.activeElement.name : null;
  known = now;
  const words = el("input", { type: "search", name: "words", value: state.query.words || "", autocomplete: "off" });
  const useful = ([name]) => state.query[name] || Object.keys(place.facets[name] || {}).length > 1;
  const selects = Object.entries(FILTERS).filter(useful).map(([name, title]) => {
    const options = Object.entries(place.facets[name] || {}).slice(0, 500).map(([value, chains]) =>
      el("option", { value, selected: state.query[name] === value }, `${value} (${count(chains)})`));
    return el("label", {}, title, el("select", { name }, el("option", { value: "" }, "all"), options));
  });
  const number = (name, title) => el("label", {}, title, el("input", { type: "number", name, min: 0, value: state.query[name] || "" }));
  const wasOpen = fields.querySelector("details") ? fields.querySelector("details").open : !matchMedia("(max-width: 50rem)").matches;
  fill(fields, el("label", {}, "Search", words),
    el("details", { class: "more", open: wasOpen }, el("summary", {}, "Filters"),
      el("div", { class: "filters" }, selects, number("at_least", "Characters, at least"), number("at_most", "at most"))));
  fields.oninput = () => {
    state.query = Object.fromEntries(new FormData(fields));
    state.offset = 0;
    load();
  };
  if (focused) fields.elements[focused].focus();
}

async function load({ choose = 0 } = {}) {
  const asked = ++state.asked;
  try {
    const found = await get("chains", { ...state.query, offset: state.offset, limit: PAGE });
    if (asked !== state.asked) return;
    Object.assign(state, { total: found.total, chains: found.chains });
  } catch (error) {
    told(error.message, { mistake: true });
    return;
  }
  drawList();
  if (state.chains.length) await show(choose < 0 ? state.chains.length - 1 : choose);
  else fill(detail, el("p", {}, "No chain is like that."));
}

// The list as it is now; the chain that is chosen stays where it is.
async function refresh() {
  const asked = state.asked, offset = state.offset;
  const found = await get("chains", { ...state.query, offset, limit: PAGE }).catch(() => null);
  if (found === null || asked !== state.asked || offset !== state.offset) return;
  const first = state.chains.length === 0;
  Object.assign(state, { total: found.total, chains: found.chains });
  drawList();
  if (first && found.chains.length) show(0);
  else list.querySelectorAll("button").forEach((button, number) => button.setAttribute("aria-current", String(number === state.chosen)));
}

function drawList() {
  fill(list, state.chains.map((chain, place) =>
    el("li", {}, el("button", { type: "button", onclick: () => show(place, { focus: true }) },
      chain.title || chain.id, " ", el("small", {}, chain.id)))));
  const last = Math.min(state.offset + PAGE, state.total);
  const text = state.total ? `${count(state.offset + 1)}–${count(last)} of ${count(state.total)}` : "none";
  fill(pager,
    el("button", { type: "button", disabled: state.offset === 0, onclick: () => turn(-1) }, "Before"),
    el("span", { id: "shown" }, text),
    el("button", { type: "button", disabled: last >= state.total, onclick: () => turn(1) }, "Next"));
}

function turn(step, choose = 0) {
  const offset = state.offset + step * PAGE;
  if (offset < 0 || offset >= state.total) return undefined;
  state.offset = offset;
  return load({ choose });
}

async function show(place, { focus = false } = {}) {
  const chain = state.chains[place];
  state.chosen = place;
  list.querySelectorAll("button").forEach((button, number) => {
    button.setAttribute("aria-current", String(number === place));
    if (number === place) button.scrollIntoView({ block: "nearest" });
  });
  const asked = state.asked;
  try {
    const document_ = await get(`chains/${chain.number}`);
    if (asked !== state.asked || state.chosen !== place) return;
    fill(detail, showChain(document_));
  } catch (error) {
    told(error.message, { mistake: true });
    return;
  }
  if (focus && matchMedia("(max-width: 50rem)").matches) detail.scrollIntoView();
}

export function key(event) {
  if (event.key === "/") {
    fields.elements.words.focus();
  } else if (event.key === "j") {
    if (state.chosen + 1 < state.chains.length) show(state.chosen + 1);
    else turn(1);
  } else if (event.key === "k") {
    if (state.chosen > 0) show(state.chosen - 1);
    else turn(-1, -1);
  } else if (event.key === "n") turn(1);
  else if (event.key === "p") turn(-1);
  else return false;
  return true;
}
