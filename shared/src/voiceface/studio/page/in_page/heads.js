// Meshes: packed for the viewer, and described beside the mean heads as perceptionist describes them.
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
const textOf = (array) => { const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength), parts = []; for (let i = 0; i < bytes.length; i += 32768) parts.push(String.fromCharCode(...bytes.subarray(i, i + 32768))); return btoa(parts.join("")); };

export const floats = (text) => new Float32Array(bytesOf(text));

export function readHead(facts) {
  const corners = new Uint32Array(bytesOf(facts.corners)), rules = facts.rules;
  if (!rules) return { corners, rules };
  const references = Object.fromEntries(Object.entries(rules.references).map(([name, text]) => [name, floats(text)]));
  return { corners, rules: { ...rules, references, direction: rules.direction && new Float64Array(bytesOf(rules.direction)) } };
}

function pack(vertices, corners) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  vertices.forEach((value, i) => { low[i % 3] = Math.min(low[i % 3], value); high[i % 3] = Math.max(high[i % 3], value); });
  const reach = high.map((value, k) => (value > low[k] ? value - low[k] : 1)), wide = vertices.length / 3 > 65535;
  const points = Uint16Array.from(vertices, (value, i) => Math.round((65535 * (value - low[i % 3])) / reach[i % 3]));
  return { box: [...low, ...reach].join(" "), points: textOf(points), corners: textOf(wide ? corners : Uint16Array.from(corners)), wide: wide ? "1" : "", colors: "" };
}

const width = (mesh, [a, b]) => Math.hypot(...[0, 1, 2].map((k) => mesh[3 * a + k] - mesh[3 * b + k]));
function distance(mesh, other) { let sum = 0; for (let i = 0; i < mesh.length; i++) sum += (mesh[i] - other[i]) ** 2; return Math.sqrt(sum) / (mesh.length / 3); }

export function describeHead(vertices, shape, { corners, rules }) {
  const mesh = pack(vertices, corners);
  if (!rules) return { mesh, reference: null, reference_name: "", face_type: "", distances: {}, differences: {} };
  const { genders, references, pairs, direction } = rules;
  const errors = Object.fromEntries(Object.entries(references).map(([name, reference]) => [name, distance(vertices, reference)]));
  const nearest = (names) => names.reduce((best, name) => (errors[name] < errors[best] ? name : best));
  const gender = direction ? genders[shape.reduce((sum, value, i) => sum + value * direction[i], 0) > 0 ? 0 : 1] : nearest(genders);
  const reference = references[gender];
  const differences = Object.fromEntries(Object.entries(pairs).map(([name, pair]) => [name, width(vertices, pair) / width(reference, pair) - 1]));
  return { mesh, reference: pack(reference, corners), reference_name: gender, face_type: nearest(Object.keys(references).filter((name) => !genders.includes(name))), distances: Object.fromEntries(genders.map((name) => [name, errors[name]])), differences };
}
