// What the tests ask modules of the page; arrays travel as base64.
const text = (values) => {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let found = "";
  for (let i = 0; i < bytes.length; i += 32768) found += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(found);
};
const floats = (given) => new Float32Array(Uint8Array.from(atob(given), (letter) => letter.charCodeAt(0)).buffer);
const load = async () => { const { source } = await import("./static/source.js"); await source.state(); return source; };

const tasks = {
  async answers(person, names) {
    const source = await load(), record = await source.hearInvented(person), wave = source.heard(record.id), found = {};
    for (const name of names) {
      if (name === "perceptionist") { found[name] = text((await source.computeHead(name, wave)).vertices.data); continue; }
      const { embedding, image } = await source.compute(name, wave);
      found[name] = text((embedding ?? image).data);
    }
    return found;
  },
  async faces(person, names) {
    const source = await load(), record = await source.seeInvented(person), found = {};
    for (const name of names) found[name] = text((await source.computeFace(name, source.picture(record.id), [0, 0, 1, 1])).embedding.data);
    return found;
  },
  async boxes(picture) {
    const source = await load(), bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
    return (await source.see(new Blob([bytes], { type: "image/png" }), "picture.png")).faces;
  },
  async embedding(name, wave) { return text((await (await load()).compute(name, floats(wave))).embedding.data); },
  async speech(wave) {
    const { findSpokenParts, measure } = await import("./static/speech.js");
    return [findSpokenParts(floats(wave)), measure(floats(wave))];
  },
  async resized(data, width, height, mode) {
    const { resize } = await import("./static/pictures.js");
    return text(resize({ width, height, data: Uint8Array.from(floats(data)) }, 128, mode));
  },
};
