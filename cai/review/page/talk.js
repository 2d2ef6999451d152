// The view for talking to one or two models: blind votes between two, marks, and the conversation as a prompt.

import { listen, post } from "./api.js";
import { turns } from "./chain.js";
import { el, fill, keyChoice, told } from "./dom.js";

export const KEYS = [["Ctrl+Enter", "send"], ["a / b / t / c", "vote between two answers: A, B, a tie, cannot say"]];

const VOTES = { a: ["a", "A is better"], b: ["b", "B is better"], t: ["tie", "a tie"], c: ["cannot say", "I cannot say"] };
const state = { messages: [], turn: null, busy: false };
let root, about;

const who = () => window.sessionStorage.getItem("annotator") || "";

export function open(main, place) {
  root = main;
  about = place.talk;
  draw();
}

function draw() {
  const name = el("input", { name: "annotator", value: who(), maxlength: 100, autocomplete: "off", onchange: (event) => window.sessionStorage.setItem("annotator", event.target.value.trim()) });
  const field = el("textarea", { id: "say", name: "say", maxlength: 100000 });
  const waits = state.turn !== null && about.models > 1;
  fill(root,
    el("form", { class: "person", onsubmit: (event) => event.preventDefault() }, el("label", {}, "Annotator", name)),
    about.streams ? null : el("p", { class: "quiet" }, about.models > 1 ? "Answers appear whole: not every model here can give them as they are written." : "Answers appear whole: this model cannot give them as they are written."),
    el("div", { "aria-live": "polite", id: "dialogue" }, turns(state.messages), state.turn === null ? null : answers()),
    waits ? null : el("form", { onsubmit: (event) => { event.preventDefault(); send(); } },
      el("label", { for: "say" }, "What you say"), field,
      el("div", { class: "sending" }, el("button", { class: "main", id: "send" }, "Send ", el("kbd", {}, "Ctrl+Enter")),
        state.messages.length ? el("button", { type: "button", id: "save", onclick: save }, "Save as a prompt") : null,
        state.messages.length ? el("button", { type: "button", onclick: anew }, "Start anew") : null)));
  if (!waits) field.focus();
}

const names = () => (about.models > 1 ? ["Answer A", "Answer B"] : ["Answer"]);

// What is written so far: it is not read out until it is whole, and there is nothing to vote on yet.
function growing(messages) {
  const texts = names().map(() => el("p", { class: "text" }));
  const cards = names().map((name, place) => el("section", { class: "card", "aria-label": name }, el("h3", {}, name), texts[place]));
  fill(document.getElementById("dialogue"), turns(messages), el("div", { class: "answers", "aria-busy": "true" }, cards));
  return (found) => found.answers.forEach((text, place) => { texts[place].textContent = text; });
}

function answers() {
  const cards = state.turn.answers.map((text, place) =>
    el("section", { class: "card", "aria-label": names()[place] }, el("h3", {}, names()[place]), el("p", { class: "text" }, text), marking(place)));
  const vote = about.models < 2 ? null : el("fieldset", {}, el("legend", {}, "Which answer is better? The conversation goes on with it."),
    el("div", { class: "choices" }, Object.entries(VOTES).map(([key, [value, text]]) => keyChoice("radio", "vote", value, key, text, false, () => choose(value)))));
  return el("div", {}, el("div", { class: "answers" }, cards), vote);
}

function marking(place) {
  if (!about.principles.length) return null;
  const choice = el("select", { "aria-label": "Principle" }, about.principles.map((name) => el("option", { value: name }, name)));
  const mark = () => attempt(async () => {
    await post("mark", { ...line(), answer: place, principle: choice.value });
    told(`Marked: it breaks ${choice.value}.`);
  });
  return el("div", { class: "choices" }, choice, el("button", { type: "button", onclick: mark }, "It breaks this principle"));
}

const line = () => ({ id: crypto.randomUUID(), when: new Date().toISOString(), annotator: who(), turn: state.turn.id });

async function attempt(action) {
  if (state.busy) return;
  state.busy = true;
  try {
    await action();
  } catch (error) {
    told(error.message, { mistake: true });
  } finally {
    state.busy = false;
  }
}

const goOn = (text) => {
  state.messages.push({ role: "assistant", content: text });
  state.turn = null;
};

function send() {
  const content = document.getElementById("say").value.trim();
  if (!content) return;
  attempt(async () => {
    const before = [...state.messages];
    if (state.turn !== null) before.push({ role: "assistant", content: state.turn.answers[0] });
    const messages = [...before, { role: "user", content }];
    told("Waiting for the answer …");
    const found = await listen("talk", { messages }, about.streams ? growing(messages) : () => {});
    Object.assign(state, { messages, turn: { id: found.turn, answers: found.answers } });
    told("");
    draw();
  });
}

function choose(overall) {
  attempt(async () => {
    const found = await post("vote", { ...line(), overall });
    goOn(state.turn.answers[overall === "b" ? 1 : 0]);
    told(`Kept. ${found.hidden.join("; ")}`);
    draw();
  });
}

// As a line that --prompts reads: what the user said last is its end.
function save() {
  const messages = state.messages.at(-1).role === "user" ? state.messages : state.messages.slice(0, -1);
  const text = `${JSON.stringify({ prompt: messages, tags: ["talk"] })}\n`;
  const address = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  el("a", { href: address, download: "prompt.jsonl" }).click();
  URL.revokeObjectURL(address);
}

function anew() {
  Object.assign(state, { messages: [], turn: null });
  draw();
}

export function key(event) {
  if (state.turn === null || about.models < 2 || !VOTES[event.key]) return false;
  choose(VOTES[event.key][0]);
  return true;
}

export function keyInField(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return false;
  send();
  return true;
}
