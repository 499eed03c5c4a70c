// Try a face: camera, file or invented person; the faces found; voices ranked for one of them.
import { askSystems, rankingRows } from "./cards.js";
import { byId, csv, el, reveal, saveAs } from "./dom.js";
import { acceptDrops } from "./drops.js";
import { source } from "./source.js";

const TOP = 200;
let record = null, number = 1, stream = null, systems = [], trouble = () => null, given = [];

export function setUpFace(state, tell) {
  systems = state.systems;
  trouble = tell;
  setUpCamera();
  byId("face-file").addEventListener("change", (event) => { const [file] = event.target.files; if (file) see(() => source.see(file), file.name); event.target.value = ""; });
  acceptDrops(byId("face-drop"), ([file]) => see(() => source.see(file), file.name));
  byId("face-scope").addEventListener("change", ask);
  byId("face-csv").addEventListener("click", () => saveAs("rankings.csv", csv(rankingRows(record.name, given))));
  addEventListener("pagehide", (event) => { if (!event.persisted && record && !record.person) source.forget("face", record.id); });
}

function setUpCamera() {
  const button = byId("camera"), video = byId("viewfinder"), note = byId("camera-note");
  let camera = null;
  const stop = () => { for (const track of camera?.getTracks() || []) track.stop(); camera = null; video.hidden = true; video.srcObject = null; button.textContent = "Start the camera"; };
  button.addEventListener("click", async () => {
    if (!camera) {
      note.textContent = "";
      if (!navigator.mediaDevices?.getUserMedia) { note.textContent = "A camera needs https, or this machine's own address (127.0.0.1)."; return; }
      try { camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } }); } catch { note.textContent = "No camera was found, or the browser was not allowed to use it."; return; }
      video.srcObject = camera;
      video.hidden = false;
      await video.play();
      button.textContent = "Take the picture";
      return;
    }
    const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    stop();
    canvas.toBlob((blob) => see(() => source.see(blob, "camera.png"), "camera"), "image/png");
  });
  addEventListener("hashchange", () => { if (camera) stop(); });
}

export function seePerson(person) { return see(() => source.seeInvented(person.id), person.name); }

async function see(send, name) {
  trouble("");
  stream?.cancel();
  if (record && !record.person) source.forget("face", record.id);
  record = null;
  number = 1;
  byId("face-empty").hidden = true;
  byId("face-bar").hidden = true;
  byId("face-answers").replaceChildren();
  const place = byId("face-seen");
  place.replaceChildren(el("div", { class: "card seen", role: "status" }, `Looking at ${name} …`));
  reveal(place);
  try { record = await send(); } catch (error) {
    place.replaceChildren();
    byId("face-empty").hidden = false;
    trouble(error.message);
    return;
  }
  showSeen(place);
  if (record.notes.some((note) => note.startsWith("no face"))) return;
  byId("face-bar").hidden = false;
  ask();
}

function showSeen(place) {
  const boxes = record.faces.map((face) => {
    const [left, top, right, bottom] = face.box.map((value) => Math.max(0, Math.min(1, value)));
    return el("button", { type: "button", class: "face-box", "aria-pressed": String(face.number === number), "aria-label": `Face ${face.number} of ${record.faces.length}`, title: face.notes.join("; "),
      style: { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` },
      onclick: (event) => { number = face.number; for (const each of place.querySelectorAll(".face-box")) each.setAttribute("aria-pressed", String(each === event.currentTarget)); tell(); ask(); } }, el("span", {}, String(face.number)));
  });
  const notes = el("ul", { class: "notes" });
  const tell = () => {
    const face = record.faces.find((each) => each.number === number);
    notes.replaceChildren(...[...record.notes, ...(face?.notes || [])].map((note) => el("li", {}, note)));
    if (!notes.children.length) notes.append(el("li", { class: "fine" }, "a good picture of a face"));
  };
  tell();
  const many = record.faces.length > 1 ? el("p", { class: "note" }, `${record.faces.length} faces: pick the one whose voice is looked for.`) : null;
  place.replaceChildren(el("div", { class: "card seen", id: "seen" }, el("div", { class: "heard-top" }, el("h2", {}, record.name)), many, el("div", { class: "seen-picture" }, el("img", { src: source.shown(record.id), alt: `Picture ${record.name}` }), boxes), notes));
  if (source.mark) letDraw(place.querySelector(".seen-picture"));
}

// Where no network finds faces, a square is drawn around one, or moved by the arrow keys.
function letDraw(stage) {
  const use = (box) => { source.mark(record.id, box); showSeen(byId("face-seen")); ask(); };
  const at = (event) => { const frame = stage.querySelector("img").getBoundingClientRect(); return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height].map((value) => Math.max(0, Math.min(1, value))); };
  let first = null;
  const square = ([x, y], [u, v]) => {
    const side = Math.min(Math.max(Math.abs(u - x) * record.width, Math.abs(v - y) * record.height), (u > x ? 1 - x : x) * record.width, (v > y ? 1 - y : y) * record.height);
    const [left, top] = [u > x ? x : x - side / record.width, v > y ? y : y - side / record.height];
    return [left, top, left + side / record.width, top + side / record.height];
  };
  const frame = el("span", { class: "face-box drawing", hidden: true, "aria-hidden": "true" });
  stage.classList.add("drawable");
  stage.append(frame);
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  stage.addEventListener("pointerdown", (event) => { if (event.button === 0) { first = at(event); stage.setPointerCapture(event.pointerId); } });
  stage.addEventListener("pointermove", (event) => {
    if (!first) return;
    const [left, top, right, bottom] = square(first, at(event));
    frame.hidden = false;
    Object.assign(frame.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
  });
  stage.addEventListener("pointerup", (event) => {
    if (!first) return;
    const box = square(first, at(event));
    first = null;
    frame.hidden = true;
    if ((box[2] - box[0]) * record.width >= 16) use(box);
  });
  stage.addEventListener("keydown", (event) => {
    const [dx, dy, grow] = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], "+": [0, 0, 1], "-": [0, 0, -1] }[event.key] ?? [];
    const [face] = record.faces;
    if (dx === undefined || !face) return;
    event.preventDefault();
    const { width, height } = record, step = 0.04 * Math.min(width, height);
    const side = Math.max(16, Math.min((face.box[2] - face.box[0]) * width + 2 * step * grow, width, height));
    const left = Math.max(0, Math.min(width - side, face.box[0] * width + dx * step - step * grow)), top = Math.max(0, Math.min(height - side, face.box[1] * height + dy * step - step * grow));
    use([left / width, top / height, (left + side) / width, (top + side) / height]);
    byId("face-seen").querySelector(".face-box").focus();
  });
}

function ask() {
  if (!record) return;
  stream?.cancel();
  byId("face-csv").hidden = true;
  stream = askSystems(byId("face-answers"), systems, "face", record.id, { number, scope: byId("face-scope").value, top: TOP }, (answers) => { given = answers; byId("face-csv").hidden = !answers.some((each) => each.ranking); });
}
