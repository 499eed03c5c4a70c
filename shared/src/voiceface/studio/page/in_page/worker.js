// A thread of its own: networks by onnxruntime, and the detector of voice activity. Everything it needs comes by messages.
import * as ort from "./ort.js";
import loadDetector from "./fvad.js";
import { unpack } from "./unpack.js";

const RATE = 16000;
const files = new Map(), sessions = new Map();
let detector = null;

const take = async (name) => { const bytes = files.get(name); files.delete(name); return new Uint8Array(await unpack(bytes).arrayBuffer()); };

async function start() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await take("ort.wasm.gz");
  ort.env.logLevel = "error";
  started = true;
}
async function open(name) { return ort.InferenceSession.create(await take(name), { executionProviders: ["wasm"], graphOptimizationLevel: "all" }); }
function session(name) {
  if (!sessions.has(name)) sessions.set(name, open(name));
  return sessions.get(name);
}

async function run({ file, feeds }) {
  const network = await session(file), inputs = {};
  for (const [name, { data, dims }] of Object.entries(feeds)) inputs[name] = new ort.Tensor("float32", data, dims);
  const found = await network.run(inputs);
  return Object.fromEntries(Object.entries(found).map(([name, { data, dims }]) => [name, { data, dims }]));
}

// Which frames hold a voice by the detector of WebRTC: {kept, size}.
async function findSpeech({ samples, rules }) {
  detector ??= take("fvad.wasm.gz").then((wasmBinary) => loadDetector({ wasmBinary }));
  const program = await detector, size = (RATE * rules.frame_ms) / 1000, state = program._fvad_new(), place = program._malloc(2 * size);
  program._fvad_set_sample_rate(state, RATE);
  program._fvad_set_mode(state, rules.aggressiveness);
  const isVoiced = (number) => { program.HEAP16.set(samples.subarray(number * size, (number + 1) * size), place / 2); return program._fvad_process(state, place, size) === 1; };
  const kept = rules.average ? smooth(isVoiced, Math.floor(samples.length / size), rules) : collect(isVoiced, Math.max(0, Math.ceil(samples.length / size) - 1), rules);
  program._fvad_free(state);
  program._free(place);
  return { kept, size };
}

// Decisions averaged and widened, as in voiceface.real.voice_encoder.
function smooth(isVoiced, count, { average, widen }) {
  const voiced = Array.from({ length: count }, (_, i) => isVoiced(i)), before = (average - 1) >> 1;
  const spoken = voiced.map((_, i) => voiced.slice(Math.max(0, i - before), i - before + average).filter(Boolean).length > average / 2);
  return spoken.map((_, i) => spoken.slice(Math.max(0, i - widen), i + widen + 1).some(Boolean));
}

// The collectors of voiceface.audio.vad.
function collect(isVoiced, count, rules) {
  const once = rules.every_frame_once ? Array.from({ length: count }, (_, i) => isVoiced(i)) : null;
  const limit = rules.voiced_fraction * rules.ring_size, kept = new Array(count).fill(false);
  let recent = [], triggered = false;
  for (let frame = 0; frame < count; frame++) {
    recent.push(frame);
    if (recent.length > rules.ring_size) recent.shift();
    if (triggered) kept[frame] = true;
    const voiced = recent.filter((each) => (once ? once[each] : isVoiced(each))).length;
    if (!triggered && voiced > limit) { triggered = true; for (const each of recent) kept[each] = true; recent = []; }
    else if (triggered && recent.length - voiced > limit) { triggered = false; recent = []; }
  }
  return kept;
}

const tasks = { add: ({ name, bytes }) => { files.set(name, bytes); }, start, run, findSpeech };
const questions = [], preparations = [];  // networks that hear are opened ahead while nobody asks and others still load
let busy = false, started = false;
async function work() {
  if (busy) return;
  busy = true;
  while (questions.length || (started && preparations.length)) {
    if (questions.length) {
      const { number, task, values } = questions.shift();
      try { postMessage({ number, result: await tasks[task](values) }); } catch (error) { postMessage({ number, problem: String(error?.message ?? error) }); }
    } else await session(preparations.shift()).catch(() => null);  // who asks for it is told
    await new Promise((resolve) => setTimeout(resolve));  // lets messages in
  }
  busy = false;
}
onmessage = ({ data }) => {
  const name = data.values?.name ?? "";
  questions.push(data);
  if (data.task === "add" && name.endsWith(".onnx.gz") && !name.includes("_face.") && !name.startsWith("face_")) preparations.push(name);
  work();
};
