// Your gallery: files of a folder and added ones, ranked in the other pages.
import { byId, el } from "./dom.js";
import { acceptDrops } from "./drops.js";
import { makePlayer } from "./player.js";
import { source } from "./source.js";

let trouble = () => null;

export function setUpGallery(_, tell) {
  trouble = tell;
  const add = async (files) => {
    trouble("");
    const note = byId("gallery-note");
    const refused = [];
    let state = null;
    for (const [i, file] of files.entries()) {
      note.textContent = `Adding ${i + 1} of ${files.length} …`;
      try { state = await source.addToGallery(file); } catch (error) { refused.push(`${file.name}: ${error.message}`); }
    }
    note.textContent = `${files.length - refused.length} of ${files.length} files added.`;
    if (refused.length) trouble([...refused.slice(0, 4), ...(refused.length > 4 ? [`and ${refused.length - 4} more`] : [])].join("\n"));
    if (state) show(state);
  };
  for (const name of ["gallery-files", "gallery-directory"]) byId(name).addEventListener("change", (event) => { add([...event.target.files].filter((file) => !file.name.startsWith("."))); event.target.value = ""; });
  acceptDrops(byId("gallery-drop"), add);
  byId("gallery-refresh").addEventListener("click", openGallery);
}

export async function openGallery() {
  try { show(await source.gallery()); } catch (error) { trouble(error.message); }
}

function show(state) {
  const faces = state.items.filter((item) => item.kind === "face"), voices = state.items.filter((item) => item.kind === "voice");
  byId("gallery-folder").textContent = state.folder ? `The folder “${state.folder}” was given at the start; its files are only read.` : state.about ?? "No folder was given at the start (voiceface serve --gallery FOLDER).";
  byId("gallery-refresh").hidden = !state.folder;
  byId("gallery-faces-title").textContent = `Pictures (${faces.length})`;
  byId("gallery-voices-title").textContent = `Recordings (${voices.length})`;
  const removal = (item) => el("button", { type: "button", class: "remove", "aria-label": `Remove ${item.name}`, onclick: async () => { try { show(await source.removeFromGallery(item.id)); } catch (error) { trouble(error.message); } } }, "remove");
  byId("gallery-faces").replaceChildren(...faces.map((item) => el("li", { class: "card" }, el("img", { class: "picture", src: source.candidatePicture(item.id), alt: item.name, loading: "lazy" }), el("span", { class: "name", title: item.name }, item.name), removal(item))));
  byId("gallery-voices").replaceChildren(...voices.map((item) => el("li", { class: "card" }, el("span", { class: "name", title: item.name }, item.name), makePlayer(item.name, () => source.candidateClip(item.id)), removal(item))));
  const left = Object.entries(state.left_out);
  byId("gallery-left").replaceChildren(...(left.length ? [el("h2", {}, `Left out (${left.length})`), el("ul", { class: "notes" }, left.slice(0, 50).map(([name, reason]) => el("li", {}, `${name}: ${reason}`)))] : []));
}
