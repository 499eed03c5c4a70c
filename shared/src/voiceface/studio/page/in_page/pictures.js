// Pictures in the browser: pixels, the square of a face, and resizing as the networks were trained on it.
const LARGEST = 24e6, GREY = 127;

// Sides by the header: an element that is not shown decodes no pixels.
async function statedPixels(blob) {
  const address = URL.createObjectURL(blob), image = new Image();
  const found = await new Promise((resolve) => {
    image.onload = () => resolve([image.naturalWidth, image.naturalHeight]);
    image.onerror = () => resolve([0, 0]);
    image.src = address;
  });
  URL.revokeObjectURL(address);
  return found;
}
function requireFew(width, height, name) {
  if (width * height > LARGEST) throw new Error(`${name}: the picture has ${width} x ${height} pixels, expected at most ${LARGEST / 1e6} million`);
}

export async function readPicture(blob, name) {
  let bitmap;
  requireFew(...await statedPixels(blob), name);
  try { bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", premultiplyAlpha: "default" }); } catch { throw new Error(`${name}: this browser cannot read it; expected a picture such as JPEG, PNG, WebP or AVIF`); }
  const { width, height } = bitmap;
  try { requireFew(width, height, name); } catch (error) { bitmap.close(); throw error; }
  return bitmap;
}

// RGB bytes of a part, {width, height, data}; `box` in shares of the sides.
export function cutOut(bitmap, box) {
  const left = Math.round(box[0] * bitmap.width), top = Math.round(box[1] * bitmap.height);
  const width = Math.max(1, Math.round(box[2] * bitmap.width) - left), height = Math.max(1, Math.round(box[3] * bitmap.height) - top);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data, data = new Uint8Array(3 * width * height);
  for (let i = 0, j = 0; i < rgba.length; i += 4) { data[j++] = rgba[i]; data[j++] = rgba[i + 1]; data[j++] = rgba[i + 2]; }
  return { width, height, data };
}

export function middleSquare({ width, height }) {
  const side = Math.min(width, height), left = (width - side) / 2 / width, top = (height - side) / 2 / height;
  return [left, top, left + side / width, top + side / height];
}

const even = (value) => { const low = Math.floor(value), rest = value - low; return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low; };

// Bilinear without antialiasing, in the fixed-point numbers of OpenCV.
function places(from, to) {
  const scale = from / to, at = new Int32Array(to), weight = new Int32Array(2 * to);
  for (let i = 0; i < to; i++) {
    let place = Math.fround((i + 0.5) * scale - 0.5), low = Math.floor(place), share = Math.fround(place - low);
    if (low < 0) [low, share] = [0, 0];
    if (low >= from - 1) [low, share] = [from - 1, 0];
    at[i] = low;
    weight[2 * i] = even(Math.fround(Math.fround(1 - share) * 2048));
    weight[2 * i + 1] = even(Math.fround(share * 2048));
  }
  return { at, weight };
}
function bilinear(image, width, height) {
  if (image.width === width && image.height === height) return image;
  if (image.width === 2 * width && image.height === 2 * height) return halve(image, width, height);
  const x = places(image.width, width), y = places(image.height, height), data = new Uint8Array(3 * width * height);
  const rows = new Map();
  const row = (number) => {
    if (!rows.has(number)) {
      const sums = new Int32Array(3 * width), start = 3 * number * image.width;
      for (let i = 0; i < width; i++) for (let c = 0; c < 3; c++) {
        const a = start + 3 * x.at[i] + c, b = start + 3 * Math.min(x.at[i] + 1, image.width - 1) + c;
        sums[3 * i + c] = image.data[a] * x.weight[2 * i] + image.data[b] * x.weight[2 * i + 1];
      }
      rows.set(number, sums);
      if (rows.size > 4) rows.delete(rows.keys().next().value);
    }
    return rows.get(number);
  };
  for (let j = 0; j < height; j++) {
    const a = row(y.at[j]), b = row(Math.min(y.at[j] + 1, image.height - 1)), [p, q] = [y.weight[2 * j], y.weight[2 * j + 1]];
    for (let i = 0; i < 3 * width; i++) data[3 * width * j + i] = (((p * (a[i] >> 4)) >> 16) + ((q * (b[i] >> 4)) >> 16) + 2) >> 2;
  }
  return { width, height, data };
}
function halve(image, width, height) {
  const data = new Uint8Array(3 * width * height), wide = 3 * image.width;
  for (let j = 0; j < height; j++) for (let i = 0; i < width; i++) for (let c = 0; c < 3; c++) {
    const at = 2 * j * wide + 6 * i + c;
    data[3 * (width * j + i) + c] = (image.data[at] + image.data[at + 3] + image.data[at + wide] + image.data[at + wide + 3] + 2) >> 2;
  }
  return { width, height, data };
}

// Bicubic with antialiasing, in the fixed-point numbers of Pillow.
const cubic = (x) => { const a = -0.5; x = Math.abs(x); return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0; };
function kernels(from, to) {
  const scale = from / to, filter = Math.max(1, scale), support = 2 * filter;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale, first = Math.max(0, Math.floor(centre - support + 0.5)), last = Math.min(from, Math.floor(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) => cubic((k + first - centre + 0.5) / filter));
    const sum = weights.reduce((total, each) => total + each, 0);
    return { first, weights: weights.map((each) => { const value = (each / sum) * 4194304; return Math.trunc(value < 0 ? value - 0.5 : value + 0.5); }) };
  });
}
function filterLines(data, lines, from, step, jump, to, outStep, outJump) {
  const found = new Uint8Array(3 * lines * to), each = kernels(from, to);
  for (let line = 0; line < lines; line++) for (let i = 0; i < to; i++) for (let c = 0; c < 3; c++) {
    const { first, weights } = each[i];
    let sum = 2097152;
    for (let k = 0; k < weights.length; k++) sum += data[line * jump + (first + k) * step + c] * weights[k];
    found[line * outJump + i * outStep + c] = Math.max(0, Math.min(255, sum >> 22));
  }
  return found;
}
function bicubic(image, width, height) {
  let { data } = image;
  if (image.width !== width) data = filterLines(data, image.height, image.width, 3, 3 * image.width, width, 3, 3 * width);
  if (image.height !== height) data = filterLines(data, width, image.height, 3 * width, 3, height, 3 * width, 3);
  return { width, height, data };
}

function letterbox(image, side) {
  const { width, height } = image, tall = side / height <= side / width;
  const [w, h] = tall ? [Math.max(1, Math.trunc((side * width) / height)), side] : [side, Math.max(1, Math.trunc((side * height) / width))];
  const small = bilinear(image, w, h), data = new Uint8Array(3 * side * side).fill(GREY), top = (side - h) >> 1, left = (side - w) >> 1;
  for (let j = 0; j < h; j++) data.set(small.data.subarray(3 * w * j, 3 * w * (j + 1)), 3 * (side * (top + j) + left));
  return { width: side, height: side, data };
}
function stretch(image, side) {
  const { width, height } = image;
  const between = height <= width ? [Math.trunc((side * width) / height), side] : [side, Math.trunc((side * height) / width)];
  return bilinear(bilinear(image, ...between), side, side);
}

// Network input (3, side, side), 0...255.
export function resize(image, side, mode) {
  const { data } = { letterbox, stretch, bicubic: (given) => bicubic(given, side, side) }[mode](image, side);
  const planes = new Float32Array(3 * side * side);
  for (let c = 0; c < 3; c++) for (let i = 0; i < side * side; i++) planes[c * side * side + i] = data[3 * i + c];
  return planes;
}

// A picture (1, 3, side, side) of values 0...1 as a data URL.
export function toPicture(values, side) {
  const image = new ImageData(side, side), count = side * side, canvas = document.createElement("canvas");
  for (let i = 0; i < count; i++) { for (let c = 0; c < 3; c++) image.data[4 * i + c] = even(255 * Math.max(0, Math.min(1, values[c * count + i]))); image.data[4 * i + 3] = 255; }
  [canvas.width, canvas.height] = [side, side];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}
