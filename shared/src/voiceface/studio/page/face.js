// Try a face: camera, file or invented person; the faces found; voices ranked for one of them.
import { askSystems, rankingRows } from "./cards.js";
import { byId, csv, el, saveAs } from "./dom.js";
import { source } from "./source.js";
import { acceptDrops } from "./voice.js";

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
}

function ask() {
  if (!record) return;
  stream?.cancel();
  byId("face-csv").hidden = true;
  stream = askSystems(byId("face-answers"), systems, "face", record.id, { number, scope: byId("face-scope").value, top: TOP }, (answers) => { given = answers; byId("face-csv").hidden = !answers.some((each) => each.ranking); });
}
