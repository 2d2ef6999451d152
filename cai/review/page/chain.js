// One chain: prompt, answers with their critiques and revisions, gates, verdicts with both orders.

import { el, share } from "./dom.js";

export const turns = (prompt) =>
  prompt.map((turn) => el("div", { class: "turn" }, el("span", { class: "role" }, turn.role), el("p", { class: "text" }, turn.content)));

function difference(changes) {
  const tags = { same: "span", come: "ins", gone: "del" };
  return el("p", { class: "text" }, changes.map(([change, text]) => el(tags[change], {}, text)));
}

function round(turn) {
  const gate = !turn.asked ? "" : turn.gate === null ? ", the gate not answered" : `, ${Math.round(turn.gate * 100)} % likely broken`;
  const parts = [el("h4", {}, `${turn.principle}${gate}`)];
  if (turn.critique !== null) parts.push(el("span", { class: "quiet" }, "critique"), el("p", { class: "text" }, turn.critique));
  if (turn.revision !== null) {
    const how = turn.changes === null ? "revision, rewritten" : "revision, with what changed";
    parts.push(el("span", { class: "quiet" }, turn.cut ? `${how}, cut at the token limit` : how));
    parts.push(turn.changes === null ? el("p", { class: "text" }, turn.revision) : difference(turn.changes));
  }
  return el("div", { class: "round" }, parts);
}

function answer(one) {
  const notes = [one.model && one.model !== one.name ? one.model : null, one.cut ? "cut at the token limit" : null];
  const note = notes.filter(Boolean).join(", ");
  const rounds = one.rounds || [];
  const changed = rounds.filter((turn) => turn.revision !== null || turn.critique !== null);
  const kept = rounds.filter((turn) => turn.revision === null && turn.critique === null && turn.asked);
  return el(
    "section", { class: "card", "aria-label": one.name },
    el("h3", {}, one.name, note ? el("span", { class: "quiet" }, ` ${note}`) : null),
    one.reasoning ? el("details", {}, el("summary", {}, "what the model thought"), el("p", { class: "text" }, one.reasoning)) : null,
    el("p", { class: "text" }, one.text),
    changed.map(round),
    kept.length ? gateTable("kept, by the gate", kept.map((turn) => [turn.principle, turn.gate])) : null,
    one.gates && one.gates.length ? gateTable("gates", one.gates.map((gate) => [gate.principle_id, gate.probability])) : null,
    one.criteria && one.criteria.length ? gateTable("criteria met", one.criteria.map((found) => [found.about, found.probability])) : null,
  );
}

const gateTable = (title, rows) =>
  el("details", { open: rows.length < 6 }, el("summary", {}, title), table(["principle", "probability"], rows.map(([name, value]) => [name, share(value)])));

export const table = (heads, rows) =>
  el(
    "table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))),
  );

function verdicts(found) {
  const rows = found.map((one) => [
    `${one.a} against ${one.b}`,
    one.principle,
    one.probability === null ? `abstained: ${one.abstained}` : `${one.probability > 0.5 ? one.a : one.b} is better`,
    share(one.probability), share(one.first), share(one.second),
  ]);
  const heads = ["compared", "principle", "verdict", "first is better", "shown first", "shown second"];
  const reasons = found.flatMap((one) => one.reasons);
  return el(
    "section", { class: "card", "aria-label": "verdicts" }, el("h3", {}, "verdicts"), table(heads, rows),
    reasons.length ? el("details", {}, el("summary", {}, "the judge's reasons"), reasons.map((text) => el("p", { class: "text" }, text))) : null,
  );
}

export function showChain(chain) {
  const facts = [...chain.tags, ...(chain.filters || []).map((name) => `found by ${name}`)];
  if (chain.label !== null && chain.label !== undefined) facts.push(`label ${chain.label}`);
  return [
    el("h2", { tabindex: "-1", id: "chain-title" }, chain.id),
    facts.length ? el("p", { class: "quiet" }, facts.join(" · ")) : null,
    chain.cause ? el("p", {}, `This row cannot be read: ${chain.cause}`) : null,
    chain.raw ? el("p", { class: "text" }, chain.raw) : null,
    turns(chain.prompt),
    chain.answers.map(answer),
    chain.verdicts.length ? verdicts(chain.verdicts) : null,
    (chain.failed || []).map((part) => el("p", { class: "quiet" }, `failed: ${part.part}: ${part.cause}`)),
  ].flat();
}
