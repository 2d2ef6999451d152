// The page: which view is open, what is known of the place, and the keyboard.

import * as annotate from "./annotate.js";
import { get } from "./api.js";
import { count, el, fill, isTyping, told } from "./dom.js";
import * as guidelines from "./guidelines.js";
import * as people from "./people.js";
import * as read from "./read.js";
import * as talk from "./talk.js";

const VIEWS = { read, annotate, guidelines, people, talk };
const EVERYWHERE = [["?", "these keys"], ["Shift+R", "read"], ["Shift+A", "annotate"], ["Shift+G", "guidelines"], ["Shift+P", "people"], ["Shift+T", "talk, with --talk"], ["Esc", "leave a field"]];
const SHIFTED = { R: "read", A: "annotate", G: "guidelines", P: "people", T: "talk" };
const POLLING = 1500, FOLLOWING = 5000;

let place = null;
let current = null;

const wanted = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "read");

async function open() {
  const name = wanted();
  current = VIEWS[name];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  fill(document.getElementById("main"));
  try {
    place = await get("place");
    document.querySelector("[data-view=talk]").hidden = place.talk === null;
    if (current === talk && place.talk === null) throw new Error("There is nobody to talk to; start cai review with --talk MODEL.");
    await current.open(document.getElementById("main"), place);
  } catch (error) {
    told(error.message, { mistake: true });
  }
}

// Until all is read, and of a run for as long as the page is open: it may still be generating.
async function watch() {
  if (place && (place.failure || (place.complete && place.kind !== "run"))) return;
  try {
    const before = place;
    place = await get("place");
    if (place.failure) told(place.failure, { mistake: true });
    else if (!place.complete) told(`Reading: ${count(place.read)} so far.`);
    else if (!before || !before.complete) told(`${count(place.read)} chains.`);
    else if (before.read !== place.read) told(`${count(place.read - before.read)} new, ${count(place.read)} chains.`);
    document.getElementById("place").textContent = place.name;
    if (current === read) read.update(place);
  } catch (error) {
    told(error.message, { mistake: true });
    return;
  }
  setTimeout(watch, place.complete ? FOLLOWING : POLLING);
}

function showKeys() {
  const parts = [["Everywhere", EVERYWHERE], ["Read", read.KEYS], ["Annotate", annotate.KEYS], ["Talk", talk.KEYS]];
  fill(document.getElementById("keys-list"), parts.map(([title, keys]) => [
    el("h3", {}, title), el("dl", { class: "keys" }, keys.map(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)]))]).flat());
  document.getElementById("keys").showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || document.getElementById("keys").open) return;
  if (isTyping(event.target)) {
    if (current.keyInField && current.keyInField(event)) event.preventDefault();
    else if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") showKeys();
  else if (event.shiftKey && SHIFTED[event.key]) location.hash = SHIFTED[event.key];
  else if (!(current.key && current.key(event))) return;
  event.preventDefault();
});

document.getElementById("help").addEventListener("click", showKeys);
window.addEventListener("hashchange", open);
await open();
document.getElementById("place").textContent = place ? place.name : "";
await watch();
