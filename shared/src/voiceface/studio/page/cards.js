// One card for each system's answer.
import { el, number } from "./dom.js";
import { makePlayer } from "./player.js";
import { source } from "./source.js";

const percent = (share) => { let digits = 1; while (digits < 4 && share >= 1 - 10 ** -(digits + 2)) digits++; return `${(Math.floor(share * 10 ** (digits + 2)) / 10 ** digits).toFixed(digits)} %`; };
const SHOWN = { voice: 8, face: 6 };  // candidates of a card; the CSV file has more
const ORDER = { picture: 0, head: 1, ranking: 2 };

export function releaseMeshes(node) {
  // A browser keeps about sixteen drawings; those that are no longer shown give their place back.
  for (const canvas of node.querySelectorAll("canvas")) canvas.getContext("webgl")?.getExtension("WEBGL_lose_context")?.loseContext();
}

function showMesh(title, mesh, small) {
  const data = Object.fromEntries(Object.entries(mesh).filter(([, value]) => value).map(([name, value]) => [`data-${name}`, value]));
  const canvas = el("canvas", { tabindex: "0", role: "img", "aria-label": `${title}: mesh, turn it with the mouse, a finger or the arrow keys`, hidden: true, ...data });
  const figure = el("figure", { class: "card mesh" }, el("figcaption", {}, title), el("div", { class: "stage" }, canvas, el("p", { class: "turn", hidden: true }, "drag to turn"), el("p", { class: "missing" }, "")));
  queueMicrotask(() => requestAnimationFrame(() => { window.showMesh(canvas); if (canvas.hidden) figure.querySelector(".missing").textContent = "This browser draws no meshes (WebGL is off)."; }));
  return figure;
}

function candidate(each, kind) {
  const isFace = kind === "voice";
  const media = isFace ? el("img", { class: "picture", src: source.candidatePicture(each.id), alt: each.name, loading: "lazy", decoding: "async" }) : makePlayer(each.name, () => source.candidateClip(each.id));
  const under = el("span", { class: "under" }, each.is_right ? el("span", { class: "mark" }, "✓ correct") : null, el("span", { class: "score" }, number(each.score)), each.percentile === null ? null : el("span", { class: "score" }, percent(each.percentile)));
  const name = el("span", { class: "name", title: each.name }, each.name);
  const rank = el("span", { class: "rank" }, String(each.rank));
  const note = each.note ? el("span", { class: "doubt" }, each.note) : null;
  return el("li", { class: each.is_right ? "right" : "", value: each.rank }, rank, ...(isFace ? [media, name, under] : [name, media, under]), note);
}

function showRanking(body, ranking, kind) {
  const found = ranking.right_rank;
  const verdict = found === null ? `best of ${ranking.gallery_size}` : `true ${kind === "voice" ? "face" : "voice"}: rank ${found} of ${ranking.gallery_size}`;
  const tone = found === null ? "open" : found === 1 ? "hit" : found <= 5 ? "near" : "far";
  body.replaceChildren(el("p", { class: `verdict ${tone}` }, verdict), ranking.verdict ? el("p", { class: "why" }, `${ranking.verdict[0].toUpperCase()}${ranking.verdict.slice(1)}.`) : "",
    el("ol", { class: "candidates" }, ranking.candidates.slice(0, SHOWN[kind]).map((each) => candidate(each, kind))));
}

function showHead(body, head) {
  const twin = el("div", { class: "twin" }, showMesh("Generated head", head.mesh), head.reference ? showMesh(`Mean ${head.reference_name} head`, head.reference) : null);
  const widest = Math.max(0.06, ...Object.values(head.differences).map(Math.abs));
  const rows = Object.entries(head.differences).map(([name, value]) => {
    const reach = 50 * Math.abs(value) / widest;
    return el("div", {}, el("dt", {}, name), el("dd", {}, el("span", { class: "deviation", "aria-hidden": "true" }, el("i", { style: { left: `${value < 0 ? 50 - reach : 50}%`, width: `${reach}%` } }))), el("dd", { class: "amount" }, `${value > 0 ? "+" : ""}${number(100 * value, 1)} %`));
  });
  const distances = Object.entries(head.distances).map(([name, value]) => `${name} ${number(value, 3)}`).join(", ");
  body.replaceChildren(twin, el("p", { class: "note" }, head.face_type ? `Face type: ${head.face_type}. Widths against the mean ${head.reference_name} head:` : ""), el("dl", { class: "measures" }, rows), el("p", { class: "note" }, distances ? `Distance to the mean heads: ${distances}.` : ""));
}

class Card {
  constructor(system, kind) {
    this.system = system;
    this.kind = kind;
    this.state = el("span", { class: "state", role: "status" }, "waiting");
    this.body = el("div", {});
    this.notice = el("p", { class: "notice", hidden: true });
    this.weights = system.weights === "bundled" ? "bundled weights" : `weights: ${system.weights}`;
    const flow = system.kind === "ranking" ? (kind === "voice" ? "v2f" : "f2v") : `made-${system.kind}`;
    this.node = el("article", { class: `card answer ${flow}`, id: `${kind === "voice" ? "" : "face-"}answer-${system.name}`, "aria-label": system.name, "data-state": "waiting" },
      el("div", { class: "answer-top" }, el("h3", {}, system.name), this.state, el("p", { class: "note" }, `${system.description} · ${this.weights}`)), this.body, this.notice);
    if (system.kind === "picture") this.body.append(el("div", { class: "drawn none" }, "…"));
    this.way = [];
  }
  show(answer) {
    this.node.dataset.state = answer.state;
    const label = { waiting: answer.ahead ? `waiting, ${answer.ahead} before` : "waiting", loading: "loading the model …", working: "working …", step: `${answer.stage}, ${Math.round(100 * answer.fraction)} %`, failed: "no answer" };
    this.state.textContent = answer.state === "done" ? `${number(answer.seconds, 2)} s` : label[answer.state];
    if (answer.state === "step") this.#step(answer);
    if (answer.state === "failed") this.body.replaceChildren(el("p", { class: "problem" }, answer.problem));
    if (answer.state !== "done") return;
    if (answer.ranking) showRanking(this.body, answer.ranking, this.kind);
    if (answer.picture) this.#finish(answer.picture);
    if (answer.head) showHead(this.body, answer.head);
    this.notice.hidden = !answer.notice;
    this.notice.textContent = answer.notice;
    this.answer = answer;
  }
  #step(answer) {
    let bar = this.body.querySelector("progress");
    if (!bar) { bar = el("progress", { max: "1", value: "0", "aria-label": `progress of ${this.system.name}` }); this.body.append(bar); }
    bar.value = answer.fraction;
    if (!answer.picture) return;
    this.way.push(answer.picture.image);
    this.#draw(answer.picture.image, `${this.system.name}: ${answer.stage}`);
  }
  #draw(image, label) {
    const now = this.body.querySelector(".drawn");
    if (now?.tagName === "IMG") { now.src = image; now.alt = label; } else now?.replaceWith(el("img", { class: "drawn", src: image, alt: label }));
  }
  #finish(picture) {
    this.#draw(picture.image, `Picture generated by ${this.system.name}`);
    this.body.querySelector("progress")?.remove();
    if (this.way.length < 2) return;
    const count = Math.min(8, this.way.length);
    const shown = Array.from({ length: count }, (_, i) => this.way[Math.round(i * (this.way.length - 1) / (count - 1))]);
    this.body.append(el("p", { class: "note" }, "The way there:"), el("div", { class: "way" }, shown.map((image, i) => el("img", { src: image, alt: `step ${i + 1} of ${shown.length}` }))));
  }
}

export function askSystems(place, systems, kind, id, options, onDone = () => null) {
  releaseMeshes(place);
  const cards = new Map(systems.filter((each) => kind === "voice" || each.ranks_voices).sort((a, b) => ORDER[a.kind] - ORDER[b.kind]).map((each) => [each.name, new Card(each, kind)]));
  place.replaceChildren(...[...cards.values()].map((card) => card.node));
  const stream = source.answers(kind, id, options, (answer) => {
    cards.get(answer.system)?.show(answer);
    if (answer.state === "done") onDone([...cards.values()].map((card) => card.answer).filter(Boolean));
  });
  stream.done.catch((error) => {
    for (const card of cards.values()) if (!["done", "failed"].includes(card.node.dataset.state)) card.show({ state: "failed", problem: error.message });
  });
  return stream;
}
export const rankingRows = (query, answers) => [["query", "system", "rank", "candidate", "cosine", "percentile", "gallery size", "correct"],
  ...answers.filter((each) => each.ranking).flatMap((each) => each.ranking.candidates.map((c) => [query, each.system, c.rank, c.name, c.score, c.percentile ?? "", each.ranking.gallery_size, c.is_right ? "yes" : ""]))];
