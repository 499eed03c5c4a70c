// A button, an outline and a time, as in the reports. `load` gives {seconds, outline, audio} when it is first played.
import { el, svg } from "./dom.js";

const drawWave = (outline) => {
  const path = outline.map((level, i) => { const half = Math.max(0.8, 11 * level); return `M${(2 + 4 * i).toFixed(1)} ${(12 - half).toFixed(1)}V${(12 + half).toFixed(1)}`; }).join("");
  return svg("svg", { viewBox: `0 0 ${4 * outline.length} 24`, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { d: path }));
};

export function makePlayer(label, load, known = null) {
  const button = el("button", { type: "button", "aria-label": `Play ${label}` });
  const done = el("span", { class: "done" });
  const wave = el("span", { class: "wave" });
  const time = el("span", { class: "time" });
  const audio = el("audio", { preload: "none", "aria-label": label });
  const player = el("div", { class: "player" }, button, wave, time, audio);
  let ready = null, frame = 0;
  const draw = (clip) => {
    done.replaceChildren(drawWave(clip.outline));
    wave.replaceChildren(drawWave(clip.outline), done);
    done.style.clipPath = "inset(0 100% 0 0)";
    time.textContent = `${clip.seconds.toFixed(1)} s`;
  };
  draw(known || { outline: Array(40).fill(0.12), seconds: 0 });
  if (!known) time.textContent = "";
  const prepare = () => (ready ??= Promise.resolve(load()).then((clip) => { draw(clip); audio.src = clip.audio; return clip; }).catch((error) => { ready = null; button.title = error.message; throw error; }));
  const show = () => {
    const share = audio.duration ? audio.currentTime / audio.duration : 0;
    done.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
    if (!audio.paused) frame = requestAnimationFrame(show);
  };
  const play = () => prepare().then(() => audio.play()).catch(() => null);
  button.addEventListener("click", () => (audio.paused ? play() : audio.pause()));
  wave.addEventListener("click", (event) => {
    const box = wave.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    prepare().then((clip) => { const seek = () => { audio.currentTime = share * (audio.duration || clip.seconds); }; if (audio.readyState) seek(); else audio.addEventListener("loadedmetadata", seek, { once: true }); return audio.play(); }).catch(() => null);
  });
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    player.classList.add("playing");
    button.setAttribute("aria-label", `Pause ${label}`);
    show();
  });
  for (const name of ["pause", "ended"]) audio.addEventListener(name, () => {
    cancelAnimationFrame(frame);
    player.classList.remove("playing");
    button.setAttribute("aria-label", `Play ${label}`);
    if (audio.ended) done.style.clipPath = "inset(0 100% 0 0)";
  });
  player.play = play;
  return player;
}
