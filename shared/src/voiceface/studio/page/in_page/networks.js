// Loads every file of the folder once, and passes work to the thread of the networks.
import { unpack } from "./unpack.js";

const base = new URL("../", import.meta.url);
const waiting = new Map();
let worker = null, number = 0;

function ask(task, values, moved = []) {
  return new Promise((resolve, reject) => { number += 1; waiting.set(number, { resolve, reject }); worker.postMessage({ number, task, values }, moved); });
}

async function fetchFile(path) {
  let response;
  try { response = await fetch(new URL(path, base)); } catch { throw new Error("The page did not load completely. Is the connection there? Load it again."); }
  if (!response.ok) throw new Error(`The page did not load completely: ${path} (${response.status}). Load it again.`);
  return response;
}

// The manifest, once all files are here; `heads` are files that this thread reads.
export async function loadFolder(onProgress) {
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => { const each = waiting.get(data.number); waiting.delete(data.number); if (data.problem === undefined) each.resolve(data.result); else each.reject(new Error(data.problem)); };
  worker.onerror = (event) => { for (const each of waiting.values()) each.reject(new Error(event.message || "The thread of the networks could not start.")); waiting.clear(); };
  const manifest = await (await fetchFile("studio.json")).json();
  const total = Object.values(manifest.files).reduce((sum, each) => sum + each, 0), kept = {};
  let done = 0;
  const load = async (name) => {
    const bytes = await (await fetchFile(`data/${name}`)).arrayBuffer();
    onProgress((done += manifest.files[name]) / total);
    if (name === "people.bin" || name.endsWith(".json.gz")) kept[name] = bytes;
    else ask("add", { name, bytes }, [bytes]).catch(() => null);  // `start` fails, too, if the thread is not there
  };
  const first = ["ort.wasm.gz", "fvad.wasm.gz"];
  const runtime = Promise.all(first.map(load)).then(() => ask("start"));
  await Promise.all([runtime, ...Object.keys(manifest.files).filter((name) => !first.includes(name)).map(load)]);
  return { manifest, kept };
}

export const unpackJson = (bytes) => unpack(bytes).json();
export const runNetwork = (file, feeds) => ask("run", { file, feeds });
export const findSpeech = (samples, rules) => ask("findSpeech", { samples, rules });
