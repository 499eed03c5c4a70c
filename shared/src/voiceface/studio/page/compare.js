// Compare systems: metrics of evaluations side by side, and the trials that are hardest for them.
import { byId, el, number } from "./dom.js";
import { acceptDrops } from "./drops.js";
import { makePlayer } from "./player.js";
import { MAIN, readResults } from "./results.js";
import { source } from "./source.js";

const COUNT = 12;
const SHARED = { G: "gender", N: "nationality", A: "age" };
let given = null, opened = [], trouble = () => null, chosen = null;

export function setUpCompare(_, tell) {
  trouble = tell;
  const add = async (files) => {
    trouble("");
    const refused = [];
    for (const file of files) try { opened.push({ ...await readResults(file), name: titleOf(file.name) }); } catch (error) { refused.push(`${file.name}: no results of an evaluation (${error.message})`); }
    if (refused.length) trouble(refused.slice(0, 4).join("\n"));
    show();
  };
  byId("results-files").addEventListener("change", (event) => { add([...event.target.files]); event.target.value = ""; });
  acceptDrops(byId("results-drop"), add);
  for (const name of ["kind", "direction", "stratum"]) byId(`filter-${name}`).addEventListener("change", show);
}

export async function openCompare() {
  if (given === null) try { given = await source.evaluations(); } catch (error) { trouble(error.message); given = []; }
  show();
}

function titleOf(name) {
  const known = new Set([...(given || []), ...opened].map((each) => each.name));
  let title = name;
  for (let i = 2; known.has(title); i++) title = `${name} (${i})`;
  return title;
}

const sharing = (stratum) => (stratum === "U" || !stratum ? "nothing" : [...stratum].map((letter) => SHARED[letter] || letter).join(", "));

function show() {
  const all = [...(given || []), ...opened];
  byId("results-filters").hidden = !all.length;
  const strata = [...new Set(all.flatMap((each) => each.lists.map((list) => list.stratum)))];
  const select = byId("filter-stratum"), before = select.value;
  select.replaceChildren(el("option", { value: "" }, "any"), ...strata.map((each) => el("option", { value: each || "-" }, sharing(each))));
  select.value = [...select.options].some((option) => option.value === before) ? before : "";
  const wanted = (list) => (!byId("filter-kind").value || list.kind === byId("filter-kind").value) && (!byId("filter-direction").value || list.direction === byId("filter-direction").value) && (!select.value || (list.stratum || "-") === select.value);
  const names = [...new Set(all.flatMap((each) => each.lists.filter(wanted).map((list) => list.name)))];
  const find = (evaluation, name) => evaluation.lists.find((list) => list.name === name);
  const cell = (list) => {
    if (!list) return el("td", { class: "number" }, "");
    const metric = list.metrics[MAIN[list.kind]];
    return el("td", { class: "number" }, number(metric.value, 3), Number.isFinite(metric.low) === false ? null : el("span", { class: "between" }, `${number(metric.low, 3)} to ${number(metric.high, 3)}`));
  };
  const rows = names.map((name) => {
    const first = all.map((each) => find(each, name)).find(Boolean);
    return el("tr", {}, el("th", { scope: "row" }, el("button", { type: "button", class: "choice", onclick: () => choose(name) }, name.replace("reterival", "retrieval"))), el("td", {}, MAIN[first.kind]), el("td", {}, sharing(first.stratum)), el("td", { class: "number" }, number(first.metrics[MAIN[first.kind]].chance, 3)), ...all.map((each) => cell(find(each, name))));
  });
  byId("results-table").replaceChildren(...(all.length ? [el("div", { class: "card table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Metrics" }, el("table", {}, el("caption", {}, "Metrics with intervals; press a list for its hardest trials"),
    el("thead", {}, el("tr", {}, ...["list", "metric", "impostors share"].map((text) => el("th", { scope: "col" }, text)), el("th", { scope: "col", class: "number" }, "chance"), ...all.map((each) => el("th", { scope: "col", class: "number" }, each.name)))), el("tbody", {}, rows))))] : []));
  if (chosen && !names.includes(chosen)) byId("results-trials").replaceChildren();
}

async function choose(name, order = "hardest", start = 0) {
  chosen = name;
  trouble("");
  const place = byId("results-trials");
  const all = [...(given || []), ...opened];
  const title = el("h2", { tabindex: "-1" }, name.replace("reterival", "retrieval"));
  const identities = all.map((each) => [each.name, each.lists.find((list) => list.name === name)]).filter(([, list]) => list);
  const hardest = identities.map(([who, list]) => el("details", { class: "card" }, el("summary", {}, `Hardest identities of ${who}`), el("div", { class: "box" }, el("ol", { class: "hardest" }, list.identities.slice(0, 30).map(([person, value, trials]) => el("li", {}, el("span", {}, person), el("span", {}, `${number(value)} · ${trials}`)))))));
  place.replaceChildren(title, ...hardest);
  title.focus({ preventScroll: true });
  title.scrollIntoView({ block: "start" });
  if (!(given || []).some((each) => each.lists.some((list) => list.name === name))) return;
  const waiting = el("p", { class: "note", role: "status" }, "Looking for the trials …");
  place.append(waiting);
  let page;
  try { page = await source.trials({ name, order, start, count: COUNT }); } catch (error) { waiting.textContent = error.message; return; }
  const isMatch = identities[0][1].kind === "match", fits = page.trials.every((trial) => trial.candidates.length < 3);
  const options = [["hardest", "hardest first"], ["easiest", "easiest first"], ...(page.evaluations.length > 1 ? [["disagreement", "largest disagreement first"]] : [])];
  const select = el("select", { id: "trial-order", onchange: (event) => choose(name, event.target.value) }, options.map(([value, text]) => el("option", { value, selected: value === order }, text)));
  const move = (to, text) => el("button", { type: "button", class: "quiet", disabled: to < 0 || to >= page.total || to === start, onclick: () => choose(name, order, to) }, text);
  waiting.replaceWith(el("div", { class: "bar" }, el("div", { class: "choose" }, el("label", { for: "trial-order" }, `${page.total} trials:`), select), el("div", { class: "choose" }, move(Math.max(0, start - COUNT), "before"), el("span", {}, `${start + 1} to ${Math.min(page.total, start + COUNT)}`), move(start + COUNT, "next"))),
    el("p", { class: "note" }, `Cosines by ${page.evaluations.join(", ")}, in this order.`),
    el("div", { class: `trials ${fits ? "two-columns" : ""}` }, page.trials.map((trial) => showTrial(trial, page.evaluations, isMatch))));
}

function media(id, kind, label) {
  return kind === "voice" ? makePlayer(label, () => source.candidateClip(id)) : el("img", { class: "picture", src: source.candidatePicture(id), alt: label, loading: "lazy" });
}

function showTrial(trial, evaluations, isMatch) {
  const other = trial.probe_kind === "voice" ? "face" : "voice";
  const results = evaluations.map((name, i) => el("span", { class: `verdict ${trial.results[i] > 0.5 ? "hit" : "far"}` }, `${name}: ${isMatch ? (trial.results[i] > 0.5 ? "right" : "wrong") : number(trial.results[i])}`));
  return el("article", { class: "card trial" }, el("div", { class: "probe-box" }, el("p", { class: "name" }, `trial ${trial.number}: ${trial.identity}`), media(trial.probe, trial.probe_kind, trial.identity), results),
    el("ol", { class: "candidates" }, trial.candidates.map((each) => el("li", { class: each.is_right ? "right" : "" }, media(each.id, other, each.identity), el("span", { class: "name" }, each.identity), el("span", { class: "under" }, each.is_right ? el("span", { class: "mark" }, "✓ true") : null, each.scores.map((score, i) => el("span", { class: "score", title: `cosine by ${evaluations[i]}` }, number(score))))))));
}
