// Try a voice: microphone, file or invented person; what the networks hear; answers of all systems.
import { askSystems, rankingRows, releaseMeshes } from "./cards.js";
import { byId, csv, el, number, reveal, saveAs } from "./dom.js";
import { acceptDrops } from "./drops.js";
import { makePlayer } from "./player.js";
import { Recorder } from "./recorder.js";
import { source } from "./source.js";

const SECONDS = 5, LONGEST = 60, TOP = 200;
let record = null, stream = null, systems = [], trouble = () => null, given = [];

export function setUpVoice(state, tell) {
  systems = state.systems;
  trouble = tell;
  setUpMicrophone();
  byId("voice-file").addEventListener("change", (event) => { const [file] = event.target.files; if (file) hear(() => source.hear(file), file.name); event.target.value = ""; });
  acceptDrops(byId("voice-drop"), ([file]) => hear(() => source.hear(file), file.name));
  byId("voice-scope").addEventListener("change", ask);
  byId("voice-csv").addEventListener("click", () => saveAs("rankings.csv", csv(rankingRows(record.name, given))));
  addEventListener("pagehide", (event) => { if (!event.persisted && record && !record.person) source.forget("voice", record.id); });
}

function setUpMicrophone() {
  const button = byId("record"), text = byId("record-text"), note = byId("record-note"), level = byId("level"), long = byId("as-long");
  const rest = () => { button.classList.remove("recording"); text.textContent = long.checked ? "Record" : "Record five seconds"; level.firstElementChild.style.width = "0"; level.setAttribute("aria-valuenow", "0"); };
  let recorder = null, last = 0;
  const finish = async () => {
    const running = recorder;
    recorder = null;
    rest();
    const wav = await running.stop();
    note.textContent = `${number(running.seconds, 1)} s recorded.`;
    hear(() => source.hear(wav, "microphone.wav"), "microphone");
  };
  long.addEventListener("change", () => { if (!recorder) rest(); });
  button.addEventListener("click", async () => {
    if (recorder) { finish(); return; }
    button.disabled = true;
    const next = new Recorder((peak, seconds) => {
      const decibels = Math.max(0, Math.min(100, 100 + 20 * Math.log10(Math.max(peak, 1e-5)) * 100 / 60));
      level.firstElementChild.style.width = `${decibels}%`;
      level.setAttribute("aria-valuenow", Math.round(decibels));
      if (seconds - last > 0.1 || seconds < last) { last = seconds; text.textContent = long.checked ? `Stop · ${number(seconds, 1)} s` : `Stop · ${number(Math.max(0, SECONDS - seconds), 1)} s left`; }
      if (recorder && seconds >= (long.checked ? LONGEST : SECONDS)) finish();
    });
    try { await next.start(); recorder = next; last = 0; button.classList.add("recording"); note.textContent = "Speak now."; } catch (error) { note.textContent = error.message; }
    button.disabled = false;
  });
}

export function hearPerson(person) { return hear(() => source.hearInvented(person.id), person.name); }

export async function hear(send, name) {
  trouble("");
  const empty = byId("voice-empty"), place = byId("voice-heard");
  stream?.cancel();
  if (record && !record.person) source.forget("voice", record.id);
  record = null;
  empty.hidden = true;
  place.replaceChildren(el("div", { class: "card heard", role: "status" }, `Listening to ${name} …`));
  reveal(place);
  byId("voice-bar").hidden = true;
  releaseMeshes(byId("voice-answers"));
  byId("voice-answers").replaceChildren();
  try { record = await send(); } catch (error) {
    place.replaceChildren();
    empty.hidden = false;
    trouble(error.message);
    return;
  }
  showHeard(place);
  byId("voice-bar").hidden = false;
  ask();
}

function ask() {
  if (!record) return;
  stream?.cancel();
  byId("voice-csv").hidden = true;
  stream = askSystems(byId("voice-answers"), systems, "voice", record.id, { scope: byId("voice-scope").value, top: TOP }, (answers) => { given = answers; byId("voice-csv").hidden = !answers.some((each) => each.ranking); });
}

function showHeard(place) {
  const id = record.id, shown = record.shown_seconds;
  const cuts = [];
  let at = 0;
  for (const [begin, end] of [...record.kept, [shown, shown]]) {
    if (begin - at > 0.02 && at < shown) cuts.push([at, Math.min(begin, shown)]);
    at = Math.max(at, end);
  }
  const kept = record.kept.reduce((sum, [begin, end]) => sum + end - begin, 0);
  const rest = record.seconds - kept;
  const heard = rest > 0.05 ? `${number(kept, 1)} s of ${number(record.seconds, 1)} s are heard; hatched: nobody speaks, left out` : `all ${number(record.seconds, 1)} s are heard`;
  const player = makePlayer(record.name, () => source.clip(id), { outline: record.outline.filter((_, i) => i % 2 === 0), seconds: record.seconds });
  const measures = record.measures;
  const facts = [`speech ${number(measures.speech_seconds ?? 0, 1)} s`, measures.level_db === undefined ? "" : `level ${number(measures.level_db, 0)} dB`, `clipped ${number(100 * (measures.clipped ?? 0), 1)} %`].filter(Boolean).join(" · ");
  place.replaceChildren(el("div", { class: "card heard", id: "heard" },
    el("div", { class: "heard-top" }, el("h2", {}, record.name), player),
    el("div", { class: "spectrogram" }, el("img", { src: source.spectrogram(id), alt: `Spectrogram of ${record.name} up to 8 kHz` }), cuts.map(([begin, end]) => el("span", { class: "cut", style: { left: `${100 * begin / shown}%`, width: `${100 * (end - begin) / shown}%` } }))),
    el("div", { class: "axis-time" }, el("span", {}, "0 s"), el("span", {}, heard), el("span", {}, `${number(shown, 1)} s`)),
    el("ul", { class: "notes" }, record.notes.length ? record.notes.map((note) => el("li", {}, note)) : el("li", { class: "fine" }, "a good recording"), el("li", { class: "fine" }, facts))));
}
