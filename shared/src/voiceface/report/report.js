(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  for (const button of document.querySelectorAll(".sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const body = head.closest("table").tBodies[0];
      const column = [...head.parentNode.children].indexOf(head);
      const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.classList.contains("number");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
        const order = x !== "" && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y, "en", { numeric: true });
        return down ? -order : order;
      };
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort(compare));
    });
  }

  for (const player of document.querySelectorAll(".player")) {
    const audio = player.querySelector("audio");
    const button = player.querySelector("button");
    const wave = player.querySelector(".wave");
    const done = player.querySelector(".done");
    const name = button.getAttribute("aria-label").replace(/^Play /, "");
    let frame = 0;
    const show = () => {
      const share = audio.duration ? audio.currentTime / audio.duration : 0;
      done.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
      if (!audio.paused) frame = requestAnimationFrame(show);
    };
    button.addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
    wave.addEventListener("click", (event) => {
      const box = wave.getBoundingClientRect();
      const seek = () => { audio.currentTime = ((event.clientX - box.left) / box.width) * audio.duration; };
      if (audio.readyState) seek(); else audio.addEventListener("loadedmetadata", seek, { once: true });
      audio.play();
    });
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      player.classList.add("playing");
      button.setAttribute("aria-label", `Pause ${name}`);
      show();
    });
    for (const event of ["pause", "ended"]) audio.addEventListener(event, () => {
      cancelAnimationFrame(frame);
      player.classList.remove("playing");
      button.setAttribute("aria-label", `Play ${name}`);
      if (audio.ended) done.style.clipPath = "inset(0 100% 0 0)";
    });
  }

  for (const copier of document.querySelectorAll(".copier")) {
    if (!navigator.clipboard) continue;
    copier.hidden = false;
    copier.addEventListener("click", () => navigator.clipboard.writeText(copier.nextElementSibling.textContent).then(() => {
      copier.textContent = "Copied";
      setTimeout(() => { copier.textContent = "Copy"; }, 1500);
    }));
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) {
        for (const link of links.values()) link.classList.remove("here");
        const link = links.get(entry.target.id);
        link.classList.add("here");
        link.parentNode.parentNode.scrollTo({ left: link.offsetLeft - 60 });
      }
    }, { rootMargin: "-15% 0px -75% 0px" });
    for (const section of document.querySelectorAll("section")) seen.observe(section);
  }
})();
