// Answers without a server: the interface of the studio's page, with networks that run in this browser. The server's
// source has the same methods. Nothing is asked for after `state`, and nothing leaves the page.
import { cutOutAligned, findFaces } from "./faces.js";
import { floats, describeHead, readHead } from "./heads.js";
import { findSpeech, loadFolder, runNetwork, unpackJson } from "./networks.js";
import { cutOut, middleSquare, readPicture, resize, toPicture } from "./pictures.js";
import { rank, unit } from "./ranking.js";
import { prepareRecorder } from "./recorder.js";
import { beginning, decode, drawSpectrogram, makeClip, outline, RATE } from "./sound.js";
import { hear } from "./speech.js";

const CENTRE = "the middle square is taken as the face: draw a square around it, or move it by the arrow keys, + and -";
const NO_FACE = "no face found: take a picture in which the face is larger or looks at the camera";
const OWN = "Added files stay in this page; nothing is uploaded.";
const LARGEST_FILE = 32;  // MB, as the server
function requireSmall(file, name) { if (file.size > LARGEST_FILE * 2 ** 20) throw new Error(`${name}: ${Math.ceil(file.size / 2 ** 20)} MB, expected at most ${LARGEST_FILE} MB`); }
const even = (value) => { const low = Math.floor(value), rest = value - low; return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low; };
const toInt16 = (wave, scale) => Int16Array.from(wave, (value) => Math.max(-32768, Math.min(32767, even(scale * value))));
function raise(wave, decibels) {
  let power = 0;
  for (const value of wave) power += (value * value) / wave.length;
  const gain = Math.fround(10 ** (decibels / 20) / Math.sqrt(power));
  return power > 0 && gain > 1 ? wave.map((value) => value * gain) : wave;
}
const message = (system, state, values = {}) => ({ system, state, ahead: 0, fraction: 0, stage: "", seconds: 0, problem: "", notice: "", ranking: null, picture: null, head: null, ...values });

class InPageSource {
  #ready = null; #systems = []; #people = []; #heads = new Map(); #records = new Map(); #own = new Map(); #detector = null; #count = 0;

  async #load() {
    const tell = document.getElementById("loading");
    const recorder = globalThis.AudioContext ? prepareRecorder().catch(() => null) : null;  // so that recording asks for nothing
    const { manifest, kept } = await loadFolder((share) => { if (tell) tell.textContent = `Loading the networks, ${Math.round(100 * share)} %`; });
    await recorder;
    this.#systems = manifest.systems;
    for (const system of this.#systems) {
      if (system.people) for (const kind of ["voice", "face"]) system.people[kind] = this.#rows(floats(system.people[kind]), system.people.size);
      if (system.head) this.#heads.set(system.name, readHead(await unpackJson(kept[system.head])));
    }
    if (manifest.detector) this.#detector = { ...manifest.detector, anchors: floats(manifest.detector.anchors) };
    else this.mark = this.#mark;
    const part = ([begin, end], type) => new Blob([kept["people.bin"].slice(begin, end)], { type });
    this.#people = manifest.people.map((each) => ({ ...each, voice: part(each.voice, "audio/flac"), face: part(each.face, "image/jpeg") })).map((each) => ({ ...each, heard: URL.createObjectURL(each.voice), seen: URL.createObjectURL(each.face) }));
    if (tell) tell.hidden = true;
    return { ...manifest.state, in_page: true };
  }
  #rows(values, size) { return Array.from({ length: values.length / size }, (_, i) => values.subarray(i * size, (i + 1) * size)); }
  #person(id) { const found = this.#people.find((each) => each.id === id); if (!found) throw new Error("nobody of the invented people has this name"); return found; }
  #system(name) { return this.#systems.find((each) => each.name === name); }
  #keep(kind, values) { this.#count += 1; const id = `${kind}-${this.#count}`; this.#records.set(id, values); return id; }

  async state() { return { ...(await (this.#ready ??= this.#load())), own_gallery: this.#own.size > 0 }; }
  async people() { await this.state(); return this.#people.map(({ id, name, gender }) => ({ id, name, gender })); }
  personFace(id) { return this.#person(id).seen; }

  async hear(file, name) { const shown = name || file.name || "recording"; requireSmall(file, shown); return this.#listen(file, shown, ""); }
  async hearInvented(id) { const person = this.#person(id); return this.#listen(person.voice, person.name, id); }
  async #listen(blob, name, person) {
    const wave = await decode(blob, name, 120), found = hear(wave, name), shown = beginning(wave);
    const id = this.#keep("voice", { kind: "voice", name, person, heard: found.heard, picture: drawSpectrogram(shown), clip: null });
    const { telephone, ...measures } = found.quality;
    return { id, name, seconds: wave.length / RATE, kept: found.parts.map(([begin, end]) => [begin / RATE, end / RATE]), shown_seconds: shown.length / RATE, outline: outline(shown, 120), notes: found.notes, measures: Object.fromEntries(Object.entries(measures).filter(([, value]) => Number.isFinite(value))), person };
  }
  spectrogram(id) { return this.#records.get(id).picture; }
  async clip(id) { const record = this.#records.get(id); return (record.clip ??= makeClip(record.heard)); }

  async see(file, name) { const shown = name || file.name || "picture"; requireSmall(file, shown); return this.#look(file, shown, ""); }
  async seeInvented(id) { const person = this.#person(id); return this.#look(person.face, person.name, id); }
  async #look(blob, name, person) {
    const bitmap = await readPicture(blob, name), { width, height } = bitmap;
    const record = { id: "", name, width, height, faces: [], notes: [], person };
    if (!person) record.faces = await this.#faces(bitmap);
    if (!person) record.notes = this.#detector ? (record.faces.length ? [] : [NO_FACE]) : [CENTRE];
    record.id = this.#keep("face", { kind: "face", name, person, bitmap, address: URL.createObjectURL(blob), record });
    return record;
  }
  // Every face, or the middle square where no network finds faces.
  async #faces(bitmap) { return this.#detector ? findFaces(bitmap, this.#detector) : [{ number: 1, box: middleSquare(bitmap), score: 1, notes: [] }]; }
  shown(id) { return this.#records.get(id).address; }
  #mark(id, box) { const { record } = this.#records.get(id); record.faces = [{ number: 1, box, score: 1, notes: [] }]; record.notes = []; }

  candidatePicture(id) { return this.#own.get(id)?.address ?? this.#people[Number(id.split("-")[1])].seen; }
  async candidateClip(id) {
    const own = this.#own.get(id);
    if (own) return (own.clip ??= makeClip(own.heard));
    const { seconds, outline: bars, heard } = this.#people[Number(id.split("-")[1])];
    return { seconds, outline: bars, audio: heard };
  }

  // Outputs of the network of a system for samples of -1...1 at 16 kHz, silence at the ends and in pauses left out.
  async compute(name, wave) {
    const { full_scale: scale, silence, min_samples: least, inputs, file } = this.#system(name).graphs.voice;
    let samples = wave;
    if (silence) {
      const raised = silence.level_db === undefined ? wave : raise(wave, silence.level_db), pcm = toInt16(raised, silence.pcm_scale ?? 32768);
      const { kept, size } = await findSpeech(pcm, silence), from = silence.level_db === undefined ? Float32Array.from(pcm, (value) => value / 32768) : raised;
      samples = new Float32Array(size * kept.filter(Boolean).length);
      kept.map((_, i) => i).filter((i) => kept[i]).forEach((i, at) => samples.set(from.subarray(i * size, (i + 1) * size), at * size));
      if (!samples.length) throw new Error(`no voice found in ${(wave.length / RATE).toFixed(2)} s; speak longer or louder`);
    }
    if (samples.length < least) throw new Error(`found ${(samples.length / RATE).toFixed(2)} s of speech, expected at least ${(least / RATE).toFixed(2)} s. Use a longer recording.`);
    const data = samples.map((value) => value * scale);
    return runNetwork(file, { [inputs[0]]: { data, dims: [1, data.length] } });
  }
  async computeFace(name, bitmap, box, points = null) {
    const { side, resize: mode, inputs, file, points: wanted } = this.#system(name).graphs.face;
    const face = points ? cutOutAligned(bitmap, points, wanted, side) : cutOut(bitmap, box);
    return runNetwork(file, { [inputs[0]]: { data: resize(face, side, mode), dims: [1, 3, side, side] } });
  }
  heard(id) { return this.#records.get(id).heard; }
  picture(id) { return this.#records.get(id).bitmap; }
  async computeHead(name, wave) {
    const found = await this.compute(name, wave), { file, inputs } = this.#system(name).graphs.mesh;
    const mesh = await runNetwork(file, Object.fromEntries(inputs.map((each) => [each, found[each]])));
    return { ...found, ...mesh };
  }

  answers(kind, id, options, onAnswer) {
    const record = this.#records.get(id), state = { cancelled: false };
    const asked = this.#systems.filter((each) => kind === "voice" || each.ranks_voices);
    for (const each of asked) onAnswer(message(each.name, "waiting"));
    const answerAll = async () => {
      for (const system of asked) {
        if (state.cancelled) return;
        const tell = (name, values) => { if (!state.cancelled) onAnswer(message(system.name, name, values)); };
        tell("working");
        const begin = performance.now();
        try {
          const result = await this.#answer(system, record, options, (stage, fraction) => tell("step", { stage, fraction }), state);
          tell("done", { ...result, fraction: 1, seconds: (performance.now() - begin) / 1000, notice: system.notice });
        } catch (error) { tell("failed", { problem: `${record.name}: ${error.message}` }); }
      }
    };
    return { done: answerAll(), cancel: () => { state.cancelled = true; } };
  }
  async #answer(system, record, options, onStep, state) {
    if (system.kind === "picture") { const { image } = await this.compute(system.name, record.heard); return { picture: { image: toPicture(image.data, image.dims[3]), similarity: null } }; }
    if (system.kind === "head") { const found = await this.computeHead(system.name, record.heard); return { head: describeHead(found.vertices.data, found.shape.data, this.#heads.get(system.name)) }; }
    const { embedding } = record.kind === "voice" ? await this.compute(system.name, record.heard) : await this.#embedFace(system, record.bitmap, record.record.faces.find((each) => each.number === options.number) ?? record.record.faces[0]);
    const wanted = record.kind === "voice" ? "face" : "voice";
    const entries = options.scope === "own" ? await this.#ownEntries(system, wanted, onStep, state) : this.#people.map((each, i) => ({ id: `${wanted}-${i}`, name: each.name, person: each.id, vector: system.people[wanted][i] }));
    if (!entries.length) throw new Error(`there are no ${wanted}s to rank: add some to your gallery`);
    return { ranking: rank(embedding.data, entries, record.person, options.top, system.impostors, options.scope) };
  }
  #embedFace(system, bitmap, face) { return this.computeFace(system.name, bitmap, face?.box ?? [0, 0, 1, 1], face?.points); }
  async #ownEntries(system, kind, onStep, state) {
    if (kind === "face" && !system.ranks_voices) throw new Error("it needs aligned faces: voiceface serve");
    const items = [...this.#own.values()].filter((each) => each.kind === kind), todo = items.filter((each) => !each.vectors.has(system.name));
    for (const [i, each] of todo.entries()) {
      if (state.cancelled) break;
      onStep(`embedding the gallery, ${i} of ${todo.length} files`, i / todo.length);
      const found = kind === "face" ? await this.#withPicture(each, (bitmap) => this.#embedFace(system, bitmap, each.faces[0])) : await this.compute(system.name, each.heard);
      each.vectors.set(system.name, unit(found.embedding.data));
    }
    return items.filter((each) => each.vectors.has(system.name)).map((each) => ({ id: each.id, name: each.name, person: "", vector: each.vectors.get(system.name) }));
  }

  // Pixels of a gallery are held one picture at a time: a hundred photographs fill gigabytes.
  async #withPicture({ file, name }, use) { const bitmap = await readPicture(file, name); try { return await use(bitmap); } finally { bitmap.close(); } }

  async gallery() { return { folder: "", about: OWN, left_out: {}, items: [...this.#own.values()].map(({ id, name, kind }) => ({ id, name, kind, origin: "dropped" })) }; }
  async addToGallery(file) {
    requireSmall(file, file.name);
    this.#count += 1;
    const item = { id: `own-${this.#count}`, name: file.name, kind: file.type.startsWith("image/") ? "face" : "voice", vectors: new Map(), clip: null };
    if (item.kind === "face") { item.file = file; item.faces = await this.#withPicture(item, (bitmap) => this.#faces(bitmap)); if (!item.faces.length) throw new Error(NO_FACE); item.address = URL.createObjectURL(file); } else item.heard = hear(await decode(file, file.name, 120), file.name).heard;
    this.#own.set(item.id, item);
    return this.gallery();
  }
  async removeFromGallery(id) { const item = this.#own.get(id); this.#release(item); this.#own.delete(id); return this.gallery(); }
  #release(item) { if (item?.address) URL.revokeObjectURL(item.address); if (item?.clip) URL.revokeObjectURL(item.clip.audio); item?.bitmap?.close(); }
  async forget(_, id) { const record = this.#records.get(id); this.#records.delete(id); this.#release(record); return null; }
  async evaluations() { return []; }
  async trials() { throw new Error("Trials need their data folder: voiceface serve --results RUN --data FOLDER."); }
  async invent() { throw new Error("People are invented by the server: voiceface serve."); }
}
export const source = new InPageSource();
