// Faces in a picture by the detector of voiceface.real, where it came with the folder: boxes, and crops that lie as the
// networks were trained. The commands also fit a mesh, whose points are finer than these.
import { runNetwork } from "./networks.js";

const MIN_SCORE = 0.5, MAX_OVERLAP = 0.3;

function letterbox(bitmap, side, border) {
  const { width, height } = bitmap, edge = border * Math.min(width, height), scale = side / (Math.max(width, height) + 2 * edge);
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  const left = (side - scale * width) / 2, top = (side - scale * height) / 2;
  context.fillStyle = "black";
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, left, top, scale * width, scale * height);
  const rgba = context.getImageData(0, 0, side, side).data, data = new Float32Array(3 * side * side);
  for (let i = 0; i < side * side; i++) for (let c = 0; c < 3; c++) data[c * side * side + i] = rgba[4 * i + c];
  return { data, scale, shift: [left, top] };
}

function overlap(a, b) {
  const shared = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]), union = area(a) + area(b) - shared;
  return union > 0 ? shared / union : 0;
}

// Mean of all boxes that overlap the best one, weighted by score.
function blend(rows) {
  const found = [];
  let left = rows.filter(({ values }) => values[2] > values[0] && values[3] > values[1]).sort((a, b) => b.score - a.score);
  while (left.length) {
    const [best] = left, same = left.filter((each) => each === best || overlap(best.values, each.values) > MAX_OVERLAP);
    const total = same.reduce((sum, each) => sum + each.score, 0);
    found.push({ score: best.score, values: best.values.map((_, k) => same.reduce((sum, each) => sum + each.values[k] * each.score, 0) / total) });
    left = left.filter((each) => !same.includes(each));
  }
  return found;
}

async function detect(bitmap, { file, side, anchors }, border) {
  const { data, scale, shift } = letterbox(bitmap, side, border), { boxs, scores } = await runNetwork(file, { input: { data, dims: [1, 3, side, side] } });
  const rows = [];
  scores.data.forEach((logit, i) => {
    const score = 1 / (1 + Math.exp(-logit));
    if (score <= MIN_SCORE) return;
    const raw = boxs.data.subarray(16 * i, 16 * i + 16), at = (k) => raw[k] + anchors[2 * i + (k % 2)];
    const corners = [at(0) - raw[2] / 2, at(1) - raw[3] / 2, at(0) + raw[2] / 2, at(1) + raw[3] / 2];
    rows.push({ score, values: [...corners, ...Array.from({ length: 12 }, (_, k) => at(4 + k))] });
  });
  return blend(rows).map(({ score, values }) => {
    const pixels = values.map((value, k) => (value - shift[k % 2]) / scale);
    return { score, box: pixels.slice(0, 4), points: [0, 1, 2, 3].map((k) => [pixels[4 + 2 * k], pixels[5 + 2 * k]]) };
  });
}

// Faces with boxes in shares of the sides, largest first; in a tight crop the head lacks its surroundings, so that a border is tried.
export async function findFaces(bitmap, detector) {
  let found = await detect(bitmap, detector, 0);
  if (!found.length) found = await detect(bitmap, detector, 0.3);
  const size = ({ points: [a, b] }) => Math.hypot(b[0] - a[0], b[1] - a[1]);
  return found.filter((each) => size(each) >= 1).sort((a, b) => size(b) - size(a)).map((each, i) => ({ number: i + 1, score: each.score, points: each.points, notes: [], box: each.box.map((value, k) => value / (k % 2 ? bitmap.height : bitmap.width)) }));
}

// RGB bytes of the square in which eyes, nose and mouth lie nearest to `wanted`, shares of the side.
export function cutOutAligned(bitmap, points, wanted, side) {
  const target = wanted.map(([x, y]) => [x * side, y * side]), mean = (list, k) => list.reduce((sum, each) => sum + each[k], 0) / list.length;
  const [px, py, qx, qy] = [mean(points, 0), mean(points, 1), mean(target, 0), mean(target, 1)];
  let cos = 0, sin = 0, total = 0;
  points.forEach(([x, y], i) => {
    const [u, v, s, t] = [x - px, y - py, target[i][0] - qx, target[i][1] - qy];
    cos += u * s + v * t; sin += u * t - v * s; total += u * u + v * v;
  });
  const [a, b] = [cos / total, sin / total];
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "black";
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  context.setTransform(a, b, -b, a, qx - a * px + b * py, qy - b * px - a * py);
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, side, side).data, data = new Uint8Array(3 * side * side);
  for (let i = 0; i < side * side; i++) for (let c = 0; c < 3; c++) data[3 * i + c] = rgba[4 * i + c];
  return { width: side, height: side, data };
}
