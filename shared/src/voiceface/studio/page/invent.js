// Invent people: a face and a voice by numbers, and what an observer can know of one from the other.
import { byId, debounce, el, number } from "./dom.js";
import { makePlayer } from "./player.js";
import { source } from "./source.js";
import { hear } from "./voice.js";

const FACTORS = [["larynx", "larynx: pitch"], ["length", "length: all formants"], ["proportion", "proportion of throat and mouth"], ["nasal", "nasal: nasality"], ["lip", "lip: third formant"], ["dental", "dental: s and f"], ["tissue", "tissue: damping"], ["age", "age: roughness, tempo"]];
const LIMIT = 2.5;
let values = null, latest = 0, running = false, again = false, loaded = false, last = null, goTo = () => null;

const deviation = (parts) => parts.map(([value, kind]) => { const reach = 50 * Math.min(1, Math.abs(value) / 3); return el("i", { class: kind, style: { left: `${value < 0 ? 50 - reach : 50}%`, width: `${reach}%` } }); });

function slider(place, id, label, onInput) {
  const input = el("input", { type: "range", id, min: -LIMIT, max: LIMIT, step: "0.1", value: "0" });
  const output = el("output", { for: id }, "0.0");
  const bar = el("span", { class: "deviation", "aria-hidden": "true" });
  input.addEventListener("input", () => { output.textContent = number(Number(input.value), 1); onInput(Number(input.value)); });
  place.append(el("div", { class: "slider" }, el("label", { for: id }, label), input, output, bar));
  return { input, bar, set(value) { input.value = value; output.textContent = number(value, 1); } };
}

export function setUpInvent(state, tell, open) {
  goTo = open;
  values = { sex: "woman", factors: Array(8).fill(0), shape: Array(40).fill(0), coupling: 1, chance: 0 };
  const draw = debounce(() => request(tell), 60);
  const factors = FACTORS.map(([name, label], i) => slider(byId("factors"), `factor-${name}`, label, (value) => { values.factors[i] = value; draw(); }));
  const shapes = state.shape_names.map((name, i) => slider(byId("shape"), `shape-${i}`, name, (value) => { values.shape[i] = value; draw(); }));
  const coupling = byId("coupling");
  coupling.addEventListener("input", () => { values.coupling = Number(coupling.value); byId("coupling-value").textContent = number(values.coupling); draw(); });
  for (const input of document.getElementsByName("sex")) input.addEventListener("change", () => { values.sex = input.value; draw(); });
  const normal = () => Math.max(-LIMIT, Math.min(LIMIT, Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())));
  const setAll = (pick) => {
    for (const [list, sliders] of [[values.factors, factors], [values.shape, shapes]]) sliders.forEach((each, i) => { list[i] = Math.round(10 * pick()) / 10; each.set(list[i]); });
    draw();
  };
  byId("invent-dice").addEventListener("click", () => { values.chance = Math.floor(10000 * Math.random()); setAll(normal); });
  byId("invent-mean").addEventListener("click", () => setAll(() => 0));
  byId("invent-chance").addEventListener("click", () => { values.chance = (values.chance + 1) % 10000; draw(); });
  byId("invent-try").addEventListener("click", tryVoice);
  show.sliders = { factors, shapes };
}

export function openInvent(tell) { if (!loaded) { loaded = true; request(tell); } }

const times = (ratio) => (ratio < 7 ? number(Math.exp(ratio), ratio < 2.3 ? 1 : 0) : `10^${number(ratio / Math.LN10, 1)}`);

async function request(tell) {
  if (running) { again = true; return; }
  running = true;
  const face = byId("invented-face");
  const turn = ++latest;
  const late = setTimeout(() => face.classList.add("busy"), 400);
  try { const made = await source.invent(values); tell(""); if (turn === latest) show(made); } catch (error) { tell(error.message); }
  clearTimeout(late);
  face.classList.remove("busy");
  running = false;
  if (again) { again = false; request(tell); }
}

function show(made) {
  last = made;
  byId("invented-face").src = made.face;
  byId("invented-voice").replaceChildren(makePlayer("the invented voice", async () => made.voice, made.voice));
  byId("invented-about").textContent = `${values.sex === "man" ? "Man" : "Woman"}, ${made.age} years. Drawn and spoken by a program; there is no such person.`;
  show.sliders.factors.forEach((each, i) => each.bar.replaceChildren(...deviation([[made.oracle.face_factors[i], ""]])));
  show.sliders.shapes.forEach((each, i) => each.bar.replaceChildren(...deviation([[made.shape[i], ""], [made.shape[i] * made.oracle.explained[i], "told"]])));
  const { accuracy, rank, candidates, ratio, explained } = made.oracle;
  const mean = explained.reduce((sum, each) => sum + each, 0) / explained.length;
  const row = (name, value, share = null) => el("div", {}, el("dt", {}, name), el("dd", {}, value), share === null ? null : el("span", { class: "meter", "aria-hidden": "true" }, el("span", { style: { width: `${100 * share}%` } })));
  byId("oracle").replaceChildren(
    row("tells this voice's face from another of the same sex", `${number(100 * accuracy, 1)} %`, accuracy),
    row(`rank of this face for this voice among ${candidates} of the same sex`, String(rank), 1 - (rank - 1) / (candidates - 1)),
    row("this face is more likely than a stranger's", ratio > 0.05 ? `${times(ratio)} times` : ratio < -0.05 ? `1 / ${times(-ratio)} times` : "as likely"),
    row("of the variance of the forty shape numbers, the voice explains", `${number(100 * mean, 0)} %`, mean));
}

async function tryVoice() {
  if (!last) return;
  const bytes = Uint8Array.from(atob(last.voice.audio.split(",")[1]), (letter) => letter.charCodeAt(0));
  const blob = new Blob([bytes], { type: "audio/wav" });
  goTo("voice");
  hear(() => source.hear(blob, "invented voice.wav"), "the invented voice");
}
