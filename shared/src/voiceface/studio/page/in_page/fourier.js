// Fast Fourier transform of real frames, radix 2.
const tables = new Map();
function table(size) {
  if (!tables.has(size)) {
    const bits = Math.log2(size), swap = new Uint32Array(size);
    for (let i = 0; i < size; i++) for (let b = 0; b < bits; b++) if (i & (1 << b)) swap[i] |= 1 << (bits - 1 - b);
    const cos = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / size));
    const sin = Float64Array.from({ length: size / 2 }, (_, k) => Math.sin((2 * Math.PI * k) / size));
    tables.set(size, { swap, cos, sin, re: new Float64Array(size), im: new Float64Array(size) });
  }
  return tables.get(size);
}

// Power |X|² of bins 0...size/2 of `length` values from `at` on; `window` is optional. The result is overwritten by the next call.
export function powerSpectrum(values, at, length, size, window = null) {
  const { swap, cos, sin, re, im } = table(size);
  for (let i = 0; i < size; i++) {
    const j = swap[i];
    re[i] = j < length ? values[at + j] * (window ? window[j] : 1) : 0;
    im[i] = 0;
  }
  for (let half = 1; half < size; half *= 2) {
    const stride = size / (2 * half);
    for (let base = 0; base < size; base += 2 * half) {
      for (let k = 0; k < half; k++) {
        const c = cos[k * stride], s = -sin[k * stride], p = base + k, q = p + half;
        const x = re[q] * c - im[q] * s, y = re[q] * s + im[q] * c;
        re[q] = re[p] - x; im[q] = im[p] - y;
        re[p] += x; im[p] += y;
      }
    }
  }
  const power = new Float64Array(size / 2 + 1);
  for (let k = 0; k <= size / 2; k++) power[k] = re[k] * re[k] + im[k] * im[k];
  return power;
}

export const hann = (size) => Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (size - 1)));
