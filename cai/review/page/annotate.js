// The view in which people say what they think: an item at a time, without what could sway them.

import { post } from "./api.js";
import { turns } from "./chain.js";
import { count, el, fill, keyChoice, told } from "./dom.js";
import { FORMS } from "./forms.js";

export const KEYS = [
  ["1 … 5", "confidence (of a rating: the rating)"], ["d / u / w", "flag: personal data, unsafe, wrong"], ["r", "reason in words"], ["Enter", "keep the answer and go on (from a text: Ctrl+Enter)"],
  ["z", "undo: take the last answer back and look at it again"], ["h", "what was hidden of the last one"], ["g", "guidelines for this item"],
];

const FLAGS = { d: "personal data", u: "unsafe", w: "wrong" };
const store = window.sessionStorage;

const state = { place: null, who: "", task: "", item: null, form: null, sent: null, busy: false, spent: 0, since: 0, revealed: null };
let root, area;

const tab = () => {
  if (!store.getItem("tab")) store.setItem("tab", crypto.randomUUID());
  return store.getItem("tab");
};

export async function open(main, place) {
  state.place = place;
  root = main;
  const only = place.annotators.length === 1 ? place.annotators[0] : "";
  state.who = store.getItem("annotator") || only;
  if (place.closed && !place.annotators.includes(state.who)) state.who = only;
  const known = place.tasks.map((task) => task.name);
  state.task = known.includes(store.getItem("task")) ? store.getItem("task") : known[0];
  await draw();
}

async function draw() {
  area = el("div", {});
  fill(root, person(), area);
  if (state.who) await next();
  else fill(area, el("p", {}, "Say who you are: what you say is kept under this name."));
}

function person() {
  const { place } = state;
  const name = place.closed
    ? el("select", { name: "who" }, el("option", { value: "" }, "choose"), place.annotators.map((one) => el("option", { value: one, selected: one === state.who }, one)))
    : el("input", { name: "who", value: state.who, list: "annotators", maxlength: 100, autocomplete: "off" });
  const task = el("select", { name: "task" }, place.tasks.map((one) => el("option", { value: one.name, selected: one.name === state.task }, one.title)));
  const begin = (event) => {
    event.preventDefault();
    state.who = name.value.trim();
    state.task = task.value;
    store.setItem("annotator", state.who);
    store.setItem("task", state.task);
    draw();
  };
  name.onchange = task.onchange = begin;
  return el("form", { class: "person", onsubmit: begin },
    el("label", {}, "Annotator", name), place.closed ? null : el("datalist", { id: "annotators" }, place.annotators.map((one) => el("option", { value: one }))),
    el("label", {}, "Question", task));
}

async function next() {
  try {
    const found = await post("next", { annotator: state.who, task: state.task, tab: tab() });
    if (found.reading) {
      fill(area, el("p", {}, "The items are being read …"));
      setTimeout(() => state.item === null && root.contains(area) && next(), 500);
      return;
    }
    show(found);
  } catch (error) {
    told(error.message, { mistake: true });
  }
}

function show(found) {
  Object.assign(state, { item: found.item, sent: null, spent: 0, since: document.hidden ? 0 : performance.now() });
  if (!found.item) {
    fill(area, el("p", {}, `Nothing is left to ask ${state.who} here.`), progress(found.progress), hidden());
    return;
  }
  const { item } = found;
  const before = item.previous || draft(item) || {};
  state.form = FORMS[item.kind](item, before.answer || null, keepDraft);
  const questions = el("form", { id: "questions", onsubmit: (event) => { event.preventDefault(); submit(); } },
    state.form.nodes, confidence(before.confidence), flags(before.flags || []),
    el("label", { for: "reason" }, "Reason, in words ", el("kbd", {}, "r")),
    el("textarea", { id: "reason", name: "reason", maxlength: 100000 }, before.reason || ""),
    el("div", { class: "sending" },
      el("button", { class: "main", id: "send" }, "Keep and go on ", el("kbd", {}, "Enter")),
      el("button", { type: "button", id: "undo", onclick: undo }, "Undo ", el("kbd", {}, "z")),
      progress(found.progress)));
  questions.addEventListener("input", keepDraft);
  fill(area, el("h2", { id: "item", tabindex: "-1" }, state.form.title), guide(item), turns(item.prompt), state.form.shown, others(item), questions, hidden());
  document.getElementById("item").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function guide(item) {
  const known = item.criteria.length ? item.criteria : item.principle ? [item.principle] : [];
  if (!known.length) return null;
  return el("details", { id: "guide", open: item.principle !== null },
    el("summary", {}, item.principle ? "The principle" : "What the criteria mean ", el("kbd", {}, "g")),
    el("dl", {}, known.map((one) => [el("dt", {}, one.id), el("dd", {}, one.text)])));
}

// What people who disagree said, without their names: only who settles it sees that.
function others(item) {
  if (!item.others.length) return null;
  const said = (one) => {
    const { overall, says, criteria } = one.answer;
    const by = Object.entries(criteria || {}).map(([name, value]) => `${name}: ${value}`);
    return [overall || says, ...by, one.confidence && `confidence ${one.confidence}`, ...one.flags, one.reason].filter(Boolean).join(" · ");
  };
  return el("section", { class: "card", "aria-label": "What was said" }, el("h3", {}, "What was said"), el("ul", {}, item.others.map((one) => el("li", {}, said(one)))));
}

function confidence(given) {
  return el("fieldset", {}, el("legend", {}, "How sure are you?"), el("div", { class: "choices" },
    [1, 2, 3, 4, 5].map((value) => keyChoice("radio", "confidence", value, String(value), { 1: "guessing", 5: "certain" }[value] || "", given === value))));
}

function flags(given) {
  return el("fieldset", {}, el("legend", {}, "Flags"), el("div", { class: "choices" },
    Object.entries(FLAGS).map(([key, flag]) => keyChoice("checkbox", "flags", flag, key, flag, given.includes(flag)))));
}

function progress(done) {
  const of = done.of === null ? "" : ` of ${count(done.of)}`;
  const time = done.seconds === null ? "" : `, ${Math.round(done.seconds)} s each`;
  return el("span", { class: "quiet" }, el("label", {}, el("span", { id: "done" }, `${count(done.done)}${of} done${time}`),
    done.of ? el("progress", { max: done.of, value: Math.min(done.done, done.of) }) : null));
}

// What was hidden of the last item, folded: who reads it each time learns to say what the judge says.
function hidden() {
  const { revealed } = state;
  if (!revealed) return null;
  return el("details", { id: "hidden", class: "card" }, el("summary", {}, "What was hidden of the last one ", el("kbd", {}, "h")),
    el("p", { class: "text" }, revealed.join("\n")));
}

function read() {
  const data = new FormData(document.getElementById("questions"));
  const sure = data.get("confidence");
  return { answer: state.form.read(data), reason: (data.get("reason") || "").trim() || null, confidence: sure ? Number(sure) : null, flags: data.getAll("flags") };
}

const draftName = (item) => `draft ${state.who} ${state.task} ${item.key}`;
const draft = (item) => JSON.parse(store.getItem(draftName(item)) || "null");

function keepDraft() {
  if (state.item) store.setItem(draftName(state.item), JSON.stringify(read()));
}

function secondsSpent() {
  return Math.round(state.spent + (state.since ? (performance.now() - state.since) / 1000 : 0));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    state.spent = state.since ? state.spent + (performance.now() - state.since) / 1000 : state.spent;
    state.since = 0;
  } else state.since = performance.now();
});

async function submit() {
  if (!state.item || state.busy) return;
  const said = read();
  if (said.answer === null) {
    told(state.form.missing, { mistake: true });
    return;
  }
  // What is sent again is the same line under the same name, so that nothing is there twice; what was changed is another.
  const words = JSON.stringify(said);
  if (!state.sent || state.sent.words !== words) {
    const { key, chosen_by, replaces } = state.item;
    state.sent = { words, line: { id: crypto.randomUUID(), when: new Date().toISOString(), seconds: secondsSpent(), annotator: state.who, task: state.task, item: key, chosen_by, replaces: replaces || null, ...said } };
  }
  state.busy = true;
  try {
    const kept = await post("annotations", { ...state.sent.line, tab: tab() });
    store.removeItem(draftName(state.item));
    state.revealed = kept.hidden;
    told(`Kept. ${count(kept.next.progress.done)} done.`);
    show(kept.next);
  } catch (error) {
    told(`Not kept: ${error.message}`, { mistake: true });
  } finally {
    state.busy = false;
  }
}

async function undo() {
  if (state.busy) return;
  state.busy = true;
  try {
    const found = await post("undo", { annotator: state.who, task: state.task, tab: tab(), id: crypto.randomUUID(), when: new Date().toISOString() });
    state.revealed = null;
    if (found.item === null) told("There is nothing to take back.");
    else {
      told("Taken back; say it anew, or leave it.");
      show(found);
    }
  } catch (error) {
    told(error.message, { mistake: true });
  } finally {
    state.busy = false;
  }
}

function toggle(id) {
  const node = document.getElementById(id);
  if (node) node.open = !node.open;
}

export function key(event) {
  const asked = state.item && document.getElementById("questions");
  if (event.key === "z") undo();
  else if (asked && event.key === "Enter" && !event.target.closest("button, summary, a")) submit();
  else if (asked && state.form.key(event)) keepDraft();
  else if (event.key === "h") toggle("hidden");
  else if (!asked) return false;
  else if (event.key === "r") document.getElementById("reason").focus();
  else if (event.key === "g") toggle("guide");
  else if (FLAGS[event.key]) press("flags", FLAGS[event.key]);
  else if (/^[1-5]$/.test(event.key)) press("confidence", event.key);
  else return false;
  return true;
}

function press(name, value) {
  [...document.getElementById("questions").elements].find((one) => one.name === name && one.value === value).click();
}

export function keyInField(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  else if (event.key === "Escape") document.getElementById("item").focus();
  else return false;
  return true;
}
