// The view of who said how much, and what it comes to.

import { get } from "./api.js";
import { table } from "./chain.js";
import { count, el, fill } from "./dom.js";

export async function open(main) {
  const found = await get("people");
  const rows = found.people.map((one) => [one.name, one.task, count(one.done), one.seconds === null ? "–" : `${Math.round(one.seconds)} s`, count(one.taken_back)]);
  const agreement = el("div", {});
  fill(main,
    el("h2", {}, "Who said how much"),
    rows.length ? table(["annotator", "question", "answers", "median time", "taken back"], rows) : el("p", {}, "Nobody has said anything yet."),
    found.remarks.map((line) => el("p", { class: "quiet" }, line)),
    el("h2", {}, "Agreement"),
    el("button", { type: "button", onclick: () => compute(agreement) }, "Compute"), agreement);
}

async function compute(place) {
  fill(place, el("p", { role: "status" }, "Computing …"));
  try {
    const found = await get("agreement");
    fill(place, found.tables.map((one) => [el("h3", {}, one.title), table(one.columns, one.rows)]).flat(), found.sentences.map((line) => el("p", {}, line)));
  } catch (error) {
    fill(place, el("p", {}, error.message));
  }
}
