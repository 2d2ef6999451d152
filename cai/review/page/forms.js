// The questions, one a task: what is shown, the fields, how they are read, and the keys that fill them.
// An answer is in the frame of what is shown, in which A stands first; the server knows which that is.

import { el, fill, keyChoice } from "./dom.js";

const CHOICES = { a: "a", b: "b", t: "tie", c: "cannot say" };
const CHOICE_TEXTS = { a: "A is better", b: "B is better", tie: "a tie", "cannot say": "I cannot say" };
const letter = (place) => String.fromCharCode(65 + place);

const answers = (texts, names) =>
  el("div", { class: "answers" }, texts.map((text, place) =>
    el("section", { class: "card", "aria-label": names[place] }, el("h3", {}, names[place]), el("p", { class: "text" }, text))));

const lettered = (texts) => answers(texts, texts.map((_, place) => `Answer ${letter(place)}`));

// Radio buttons of which keys press one.
function radios(name, legend, choices, given) {
  const inputs = Object.entries(choices).map(([key, [value, text]]) => keyChoice("radio", name, value, key, text, String(given) === String(value)));
  return el("fieldset", { "data-group": name }, el("legend", {}, legend), el("div", { class: "choices" }, inputs));
}

function press(group, value) {
  const input = [...group.querySelectorAll("input")].find((one) => one.value === String(value));
  if (input) input.click();
  return Boolean(input);
}

function comparison(item, given) {
  const choices = Object.fromEntries(Object.entries(CHOICES).map(([key, value]) => [key, [value, CHOICE_TEXTS[value]]]));
  const groups = [radios("overall", "Which answer is better?", choices, given && given.overall)];
  for (const one of item.criteria) groups.push(radios(`by ${one.id}`, one.id, choices, given && given.criteria[one.id]));
  let active = 0;
  const activate = (place) => {
    active = Math.max(0, Math.min(groups.length - 1, place));
    groups.forEach((group, number) => group.classList.toggle("active", number === active));
    if (active) groups[active].scrollIntoView({ block: "nearest" });
  };
  activate(0);
  const criteria = groups.length > 1
    ? el("details", { open: groups.length < 5 }, el("summary", {}, "By criterion ", el("kbd", {}, "n"), " ", el("kbd", {}, "p")), groups.slice(1)) : null;
  return {
    title: "Which answer is better?",
    missing: "Say first which answer is better: a, b, t for a tie, or c if you cannot say.",
    shown: lettered(item.answers),
    nodes: [groups[0], criteria],
    read: (data) => data.get("overall") === null ? null : {
      overall: data.get("overall"),
      criteria: Object.fromEntries(item.criteria.map((one) => [one.id, data.get(`by ${one.id}`)]).filter(([, value]) => value !== null)),
    },
    key: (event) => {
      if (event.key === "n" || event.key === "p") {
        if (criteria) criteria.open = true;
        activate(active + (event.key === "n" ? 1 : -1));
        return true;
      }
      if (!(event.key in CHOICES)) return false;
      press(groups[active], CHOICES[event.key]);
      if (active && active + 1 < groups.length) activate(active + 1);
      return true;
    },
  };
}

// A question with one group of radio buttons.
function single(item, given, { title, legend, name, choices, convert, missing, shown }) {
  const group = radios(name, legend, choices, given === null ? null : given[name]);
  return {
    title, missing, shown, nodes: [group],
    read: (data) => data.get(name) === null ? null : { [name]: convert(data.get(name)) },
    key: (event) => event.key in choices && press(group, choices[event.key][0]),
  };
}

const adherence = (item, given) => single(item, given, {
  title: `Does the answer keep the principle ${item.principle.id}?`, legend: "The answer", name: "says", convert: (value) => value,
  choices: { k: ["keeps", "keeps it"], b: ["breaks", "breaks it"], c: ["cannot say", "I cannot say"] },
  missing: "Say first whether it keeps the principle: k, b, or c if you cannot say.", shown: answers(item.answers, ["Answer"]),
});

const rating = (item, given) => single(item, given, {
  title: "How good is the answer?", legend: "From 1, bad, to 5, good", name: "rating", convert: Number,
  choices: Object.fromEntries([1, 2, 3, 4, 5].map((value) => [value, [value, { 1: "bad", 5: "good" }[value] || ""]])),
  missing: "Say first how good it is: 1 to 5.", shown: answers(item.answers, ["Answer"]),
});

const thumb = (item, given) => single(item, given, {
  title: "Is the answer good?", legend: "The answer is", name: "up", convert: (value) => value === "true",
  choices: { "+": [true, "good"], "-": [false, "bad"] },
  missing: "Say first whether it is good: + or -.", shown: answers(item.answers, ["Answer"]),
});

function edit(item, given) {
  const field = el("textarea", { name: "text", id: "better", rows: 10, maxlength: 100000 }, given ? given.text : item.answers[0]);
  return {
    title: "Write a better response",
    missing: "Change the response first: it is still the one that was there.",
    shown: answers(item.answers, ["The response as it is"]),
    nodes: [el("label", { for: "better" }, "A better response, as a whole ", el("kbd", {}, "e")), field],
    read: (data) => {
      const text = data.get("text").trim();
      return !text || text === item.answers[0].trim() ? null : { text };
    },
    key: (event) => event.key === "e" && (field.focus(), true),
  };
}

// Answers in an order, the best first, each perhaps as good as the one above it.
function ranking(item, given, changed) {
  const order = item.answers.map((_, place) => place);
  if (given) order.sort((one, other) => given.ranks[one] - given.ranks[other]);
  const tied = new Set(given ? order.filter((place, n) => n && given.ranks[place] === given.ranks[order[n - 1]]) : []);
  let touched = Boolean(given), placed = 0, dragged = null;
  const list = el("ol", { class: "ranking", "aria-label": "Answers, the best first" });
  const move = (from, to) => {
    if (to < 0 || to >= order.length) return;
    order.splice(to, 0, ...order.splice(from, 1));
    touched = true;
    draw();
    changed();
  };
  const draw = () => {
    tied.delete(order[0]);
    let rank = 0;
    fill(list, order.map((place, n) => {
      if (!tied.has(place)) rank = n + 1;
      const tie = n === 0 ? null : el("label", {}, el("input", { type: "checkbox", checked: tied.has(place), onchange: () => {
        if (!tied.delete(place)) tied.add(place);
        touched = true;
        draw();
        changed();
      } }), "as good as the one above");
      const name = letter(place);
      return el("li", { draggable: "true", ondragstart: (event) => { dragged = n; event.dataTransfer.setData("text/plain", name); },
        ondragover: (event) => event.preventDefault(), ondrop: (event) => { event.preventDefault(); if (dragged !== null) move(dragged, n); dragged = null; } },
        el("strong", {}, `${rank}. Answer ${name}`), el("kbd", {}, name.toLowerCase()),
        el("button", { type: "button", disabled: n === 0, "aria-label": `Answer ${name} up`, onclick: () => move(n, n - 1) }, "Up"),
        el("button", { type: "button", disabled: n + 1 === order.length, "aria-label": `Answer ${name} down`, onclick: () => move(n, n + 1) }, "Down"), tie);
    }));
  };
  draw();
  return {
    title: "Rank the answers",
    missing: "Rank the answers first: type their letters, the best first, or drag them.",
    shown: lettered(item.answers),
    nodes: [el("fieldset", {}, el("legend", {}, "The best first"), el("p", { class: "quiet" }, "Type the letters, the best first; = says that the last one is as good as the one before. Or drag, or use the buttons."), list)],
    read: () => {
      if (!touched || (placed > 0 && placed < order.length)) return null;
      const ranks = order.map(() => 0);
      order.forEach((place, n) => { ranks[place] = tied.has(place) ? ranks[order[n - 1]] : n + 1; });
      return { ranks };
    },
    key: (event) => {
      if (event.key === "=" && placed > 1) {
        tied.add(order[placed - 1]);
        draw();
        return true;
      }
      const place = event.key.length === 1 ? event.key.charCodeAt(0) - 97 : -1;
      if (place < 0 || place >= order.length) return false;
      if (placed === order.length) placed = 0;
      const from = order.indexOf(place);
      if (from < placed) return true;
      tied.delete(place);
      move(from, placed);
      placed += 1;
      return true;
    },
  };
}

export const FORMS = { comparison, adherence, ranking, rating, thumb, edit };
