// Where answers come from. The page knows this interface alone; another source (networks in the browser) can
// take the server's place by offering the same methods.
//   state(), people()
//   hear(file, name), hearInvented(person)      -> record of a recording
//   see(file, name), seeInvented(person)        -> record of a picture
//   answers(kind, id, options, onAnswer)        -> {done: promise, cancel()}
//   spectrogram(id), clip(id), shown(id), candidatePicture(id), candidateClip(id), personFace(id), personClip(id)
//   evaluations(), trials(options)
//   mark(id, box)                               -> optional: the face of a picture is where somebody has drawn it
//   gallery(), addToGallery(file), removeFromGallery(id), invent(request), forget(kind, id)
class ServerSource {
  #megabytes = Infinity;
  async #call(address, options = {}) {
    let response;
    try { response = await fetch(address, options); } catch { throw new Error("The server does not answer. Is it still running?"); }
    if (!response.ok) {
      let detail = `${response.status} ${response.statusText}`;
      try { detail = (await response.json()).detail || detail; } catch { /* no JSON */ }
      throw new Error(detail);
    }
    return response.status === 204 ? null : response.json();
  }
  #send(address, value) { return this.#call(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) }); }
  async #upload(address, file, name) {
    const form = new FormData(), shown = name || file.name || "recording.wav";
    // A server that refuses a large file closes the connection, which a browser cannot tell from a server that has ended.
    if (file.size > this.#megabytes * 2 ** 20) throw new Error(`${shown}: ${Math.ceil(file.size / 2 ** 20)} MB, expected at most ${this.#megabytes} MB`);
    form.append("file", file, shown);
    return this.#call(address, { method: "POST", body: form });
  }
  async state() { const state = await this.#call("/api/state"); this.#megabytes = state.upload_megabytes; return state; }
  people() { return this.#call("/api/people"); }
  hear(file, name) { return this.#upload("/api/voices", file, name); }
  hearInvented(person) { return this.#send("/api/voices/invented", { person }); }
  see(file, name) { return this.#upload("/api/faces", file, name); }
  seeInvented(person) { return this.#send("/api/faces/invented", { person }); }
  spectrogram(id) { return `/api/voices/${id}/spectrogram.png`; }
  clip(id) { return this.#call(`/api/voices/${id}/clip`); }
  shown(id) { return `/api/faces/${id}/picture.jpg`; }
  candidatePicture(id) { return `/api/candidates/${id}/picture.jpg`; }
  candidateClip(id) { return this.#call(`/api/candidates/${id}/clip`); }
  personFace(id) { return `/api/people/${encodeURIComponent(id)}/face.jpg`; }
  gallery() { return this.#call("/api/gallery"); }
  addToGallery(file) { return this.#upload("/api/gallery", file); }
  removeFromGallery(id) { return this.#call(`/api/gallery/${id}`, { method: "DELETE" }); }
  evaluations() { return this.#call("/api/evaluations"); }
  trials(options) { return this.#call(`/api/evaluations/trials?${new URLSearchParams(options)}`); }
  invent(request) { return this.#send("/api/inventions", request); }
  forget(kind, id) { return fetch(`/api/${kind}s/${id}`, { method: "DELETE", keepalive: true }).catch(() => null); }
  answers(kind, id, options, onAnswer) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(options)) query.set(name, value);
    const events = new EventSource(`/api/${kind}s/${id}/answers?${query}`);
    const done = new Promise((resolve, reject) => {
      events.onmessage = (event) => onAnswer(JSON.parse(event.data));
      events.addEventListener("end", () => { events.close(); resolve(); });
      events.onerror = () => { events.close(); reject(new Error("The answers ended too early. Is the server still running?")); };
    });
    return { done, cancel: () => events.close() };
  }
}
export const source = new ServerSource();
