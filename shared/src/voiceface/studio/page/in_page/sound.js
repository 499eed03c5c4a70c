// Recordings in the browser: decoded and resampled to 16 kHz by the browser, drawn, and packed to listen to.
import { encodeWav } from "./recorder.js";
import { hann, powerSpectrum } from "./fourier.js";

export const RATE = 16000;
const FRAME = 512, RANGE_DB = 70, COLUMNS = 900, ROWS = 160, SHOWN = 60;
const PALETTE = [[9, 9, 28], [46, 24, 92], [110, 33, 118], [176, 54, 106], [229, 92, 76], [251, 155, 84], [253, 228, 166]];

// Length that the browser reads from the header; without one, or where it is not known, the samples decide.
function statedSeconds(blob) {
  const address = URL.createObjectURL(blob), audio = new Audio();
  return new Promise((resolve) => {
    audio.preload = "metadata";
    audio.onloadedmetadata = () => resolve(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => resolve(0);
    setTimeout(() => resolve(0), 2000);
    audio.src = address;
  }).finally(() => { audio.removeAttribute("src"); URL.revokeObjectURL(address); });
}

export async function decode(blob, name, longest) {
  let found;
  if (await statedSeconds(blob) > longest + 1) throw new Error(`${name}: the recording is longer than ${longest} s, the most that the page takes: cut it`);
  const bytes = await blob.arrayBuffer();
  try { found = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes); } catch { throw new Error(`${name}: this browser cannot read it; expected a recording such as WAV, FLAC, MP3, M4A or WebM`); }
  if (found.duration > longest) throw new Error(`${name}: the recording is longer than ${longest} s, the most that the page takes: cut it`);
  return mix(Array.from({ length: found.numberOfChannels }, (_, i) => restore(found.getChannelData(i))));
}

// Some browsers divide 16-bit samples above zero by 32767 and those below by 32768: 30 parts in a million.
function restore(wave) {
  const fits = (scale) => wave.every((value) => value <= 0 || Math.abs(scale * value - Math.round(scale * value)) < 0.01);
  return fits(32768) || !fits(32767) ? wave : wave.map((value) => (value > 0 ? (value * 32767) / 32768 : value));
}

const deviation = (wave) => { let sum = 0, squares = 0; for (const value of wave) { sum += value; squares += value * value; } return Math.sqrt(Math.max(0, squares / wave.length - (sum / wave.length) ** 2)); };

// The mean of the channels that are not silent, or the loudest one where they cancel, as voiceface.audio.channels.
function mix(channels) {
  if (channels.length === 1) return channels[0].slice();
  const levels = channels.map(deviation), most = Math.max(...levels);
  const loud = channels.filter((_, i) => levels[i] > 0.03 * most);
  if (!loud.length) return channels[0].slice();
  const mixed = new Float32Array(channels[0].length);
  for (const channel of loud) for (let i = 0; i < mixed.length; i++) mixed[i] += channel[i] / loud.length;
  return deviation(mixed) < 0.5 * most ? channels[levels.indexOf(most)].slice() : mixed;
}

export function outline(wave, bars) {
  const whole = Math.floor(wave.length / bars), rest = wave.length % bars, levels = [];
  for (let i = 0, at = 0; i < bars; i++) {
    const count = whole + (i < rest ? 1 : 0);
    let sum = 0;
    for (let j = at; j < at + count; j++) sum += wave[j] * wave[j];
    levels.push(count ? Math.sqrt(sum / count) : 0);
    at += count;
  }
  const most = Math.max(1e-6, ...levels);
  return levels.map((level) => Math.round(1000 * (level / most) ** 0.7) / 1000);
}

export function makeClip(wave) {
  return { seconds: wave.length / RATE, outline: outline(wave, 56), audio: URL.createObjectURL(encodeWav([wave], RATE)) };
}

export const beginning = (wave) => wave.subarray(0, SHOWN * RATE);

export function drawSpectrogram(wave) {
  const shown = new Float32Array(Math.max(FRAME, wave.length));
  shown.set(wave);
  const hop = Math.max(80, Math.ceil(shown.length / COLUMNS)), window = hann(FRAME), columns = [];
  for (let at = 0; at + FRAME <= shown.length; at += hop) columns.push(powerSpectrum(shown, at, FRAME, FRAME, window));
  let most = 1e-12;
  for (const column of columns) for (const value of column) most = Math.max(most, value);
  const height = FRAME / 2 + 1, image = new ImageData(columns.length, height);
  columns.forEach((column, x) => column.forEach((value, k) => {
    const share = Math.max(0, Math.min(1, (10 * Math.log10(Math.max(value, 1e-10 * most) / most)) / RANGE_DB + 1));
    const place = share * (PALETTE.length - 1), low = Math.min(Math.floor(place), PALETTE.length - 2), at = 4 * ((height - 1 - k) * columns.length + x);
    for (let c = 0; c < 3; c++) image.data[at + c] = Math.round(PALETTE[low][c] + (place - low) * (PALETTE[low + 1][c] - PALETTE[low][c]));
    image.data[at + 3] = 255;
  }));
  const full = new OffscreenCanvas(columns.length, height), canvas = document.createElement("canvas");
  full.getContext("2d").putImageData(image, 0, 0);
  [canvas.width, canvas.height] = [columns.length, ROWS];
  canvas.getContext("2d").drawImage(full, 0, 0, columns.length, ROWS);
  return canvas.toDataURL("image/png");
}
