// The view of the guidelines: principles, what to look for, and worked examples.

import { get } from "./api.js";
import { el, fill } from "./dom.js";

const text = (label, value) => [el("dt", {}, label), el("dd", { class: "text" }, value)];

const example = (one) =>
  el("details", {}, el("summary", {}, "An example"), el("dl", {},
    text("The user says", one.prompt), text("This breaks it", one.response), text("Why", one.critique), text("This keeps it", one.revision)));

export async function open(main) {
  const guide = await get("guidelines");
  fill(main,
    el("h2", {}, guide.title ? `The constitution ${guide.title}` : "General criteria"),
    guide.summary ? el("p", {}, guide.summary) : null,
    guide.title ? null : el("p", { class: "quiet" }, "No constitution was given; --constitution takes one."),
    el("p", {}, "Judge the answers by what they say to the user. Which of them a model revised, which model wrote them and what the judge said is hidden until you answered. Say that you cannot say rather than guess."),
    guide.principles.map((one) =>
      el("section", { class: "card", "aria-label": one.id },
        el("h3", {}, one.id, one.severity ? el("span", { class: "quiet" }, ` ${one.severity}`) : null),
        el("p", {}, one.text),
        one.look_for ? el("p", { class: "quiet" }, one.look_for) : null,
        one.applies_to ? el("p", { class: "quiet" }, `For prompts with one of the tags: ${one.applies_to.join(", ")}.`) : null,
        (one.examples || []).map(example))));
}
