// The page: tabs, light and dark, the gate, invented people.
import { openCompare, setUpCompare } from "./compare.js";
import { byId, el } from "./dom.js";
import { seePerson, setUpFace } from "./face.js";
import { openGallery, setUpGallery } from "./gallery.js";
import { openInvent, setUpInvent } from "./invent.js";
import { source } from "./source.js";
import { hearPerson, setUpVoice } from "./voice.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];
const names = tabs.map((tab) => tab.id.slice(4));

function tell(text) {
  const place = byId("trouble");
  place.textContent = text;
  place.hidden = !text;
}
function open(name, { focus = false } = {}) {
  tabs.forEach((tab, i) => {
    const chosen = names[i] === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(`panel-${names[i]}`).hidden = !chosen;
    if (chosen && focus) tab.focus();
    if (chosen) tab.scrollIntoView({ inline: "nearest", block: "nearest" });
  });
  if (location.hash !== `#${name}`) history.pushState(null, "", `#${name}`);
  tell("");
  if (name === "gallery") openGallery();
  if (name === "invent") openInvent(tell);
  if (name === "compare") openCompare();
  if (name === "systems") showSystems();
}
tabs.forEach((tab, i) => tab.addEventListener("click", () => open(names[i])));
byId("tabs").addEventListener("keydown", (event) => {
  const at = tabs.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  open(names[(to + tabs.length) % tabs.length], { focus: true });
});
const fromAddress = () => open(names.includes(location.hash.slice(1)) ? location.hash.slice(1) : "voice");
addEventListener("hashchange", fromAddress);
addEventListener("popstate", fromAddress);

const keep = (name, value) => { try { if (value === undefined) return localStorage.getItem(name); localStorage.setItem(name, value); } catch { /* no storage */ } return null; };
const theme = keep("theme");
if (theme) document.documentElement.dataset.theme = theme;
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  keep("theme", root.dataset.theme);
});

const gate = byId("gate");
gate.addEventListener("close", () => keep("agreed", "1"));
byId("reopen").addEventListener("click", () => gate.showModal());
if (keep("agreed") !== "1") gate.showModal();

function showPeople(place, people, use) {
  place.replaceChildren(...people.map((person) => el("button", { type: "button", "aria-label": `${person.name}, ${person.gender}`, "aria-pressed": "false", title: person.name, onclick: (event) => {
    for (const other of place.children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
    use(person);
  } }, el("img", { src: source.personFace(person.id), alt: "", loading: "lazy", width: "58", height: "58" }))));
}

async function showSystems() {
  const state = await source.state();
  const row = (name, ...texts) => el("article", { class: "card system-row" }, el("h2", {}, name), texts.filter(Boolean).map((text) => el("p", { class: "note" }, text)));
  byId("systems").replaceChildren(
    ...state.systems.map((each) => row(each.name, `${each.description}; ${each.ranks_voices ? "ranks faces for a voice and voices for a face" : each.kind === "picture" ? "draws a picture" : "makes a head"}.`, `Weights: ${each.weights}${each.is_loaded ? "" : ", loaded when first asked; their notice comes with every answer"}.`, each.notice)),
    ...Object.entries(state.unavailable).map(([name, reason]) => row(name, `${state.in_page ? "Not in this page" : "Not here"}: ${reason}`)));
}

try {
  const state = await source.state();
  byId("version").textContent = state.version;
  const here = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  if (!state.in_page) byId("where").textContent = here ? "this machine" : `the machine ${location.hostname}`;
  setUpVoice(state, tell);
  setUpFace(state, tell);
  setUpGallery(state, tell);
  if (byId("panel-invent")) setUpInvent(state, tell, open);
  setUpCompare(state, tell);
  fromAddress();
  for (const kind of ["voice", "face"]) {
    byId(`${kind}-scope`).value = state.own_gallery ? byId(`${kind}-scope`).value : "people";
    byId(`${kind}-people`).append(el("p", { class: "note", role: "status" }, "Being invented …"));
  }
  const people = await source.people();
  showPeople(byId("voice-people"), people, hearPerson);
  showPeople(byId("face-people"), people, seePerson);
} catch (error) {
  tell(error.message);
}
document.documentElement.dataset.ready = "1";
