// What is heard of a recording: measured, refused without speech, cut to its spoken parts. The rules and numbers are
// those of voiceface.audio.recording_quality (with the finder "pitch") and voiceface.audio.spoken_parts.
import { hann, powerSpectrum } from "./fourier.js";

const RATE = 16000, FRAME = 1024, HOP = 512;
const LAGS = [32, 266], BINS = [10, 128], MIN_PERIODICITY = 0.6, PAUSE = 3;  // 60...500 Hz, 80...1000 Hz
const RELATIVE_DB = -35, RANGE_DB = 20, MIN_SECONDS = 0.5, MIN_SPEECH = 0.3;
const QUIET_DB = 25, MEDIAN_QUIET_DB = 20, MARGIN = 2400, MIN_CUT = 3200, FADE = 80;
const PIECE = 16, TONE = 320, MIN_QUIET = 0.1 * RATE, KEPT_QUIET = 0.05 * RATE, MIN_SILENCE = 0.02 * RATE, TONE_SHARE = 0.2;
const WINDOW = hann(FRAME);
const decibels = (db) => 10 ** (db / 20);
const mean = (values) => { let sum = 0; for (const value of values) sum += value; return values.length ? sum / values.length : 0; };
const largest = (values) => values.reduce((most, value) => Math.max(most, value), -Infinity);

// Periodic sound: normalised autocorrelation of the band of a voice, at the best lag.
const cosines = Float64Array.from({ length: 2 * FRAME }, (_, k) => Math.cos((Math.PI * k) / FRAME));
function periodicity(wave, at) {
  const power = powerSpectrum(wave, at, FRAME, 2 * FRAME);
  const correlate = (lag) => { let sum = 0; for (let k = BINS[0]; k < BINS[1]; k++) sum += power[k] * cosines[(k * lag) & (2 * FRAME - 1)]; return sum; };
  let best = -Infinity;
  for (let lag = LAGS[0]; lag < LAGS[1]; lag++) best = Math.max(best, correlate(lag) / (1 - lag / FRAME));
  return best / Math.max(correlate(0), 1e-20 * FRAME);
}

const meanSquare = (wave, at, count) => { let sum = 0; for (let i = at; i < at + count; i++) sum += wave[i] * wave[i]; return sum / count; };
const near = (flags, i, reach, self) => { for (let j = Math.max(0, i - reach); j <= Math.min(flags.length - 1, i + reach); j++) if (flags[j] && (self || j !== i)) return true; return false; };

function findVoiced(wave, count, loud) {
  const found = Array.from({ length: count }, (_, i) => loud[i] && periodicity(wave, i * HOP) > MIN_PERIODICITY);
  const voiced = found.map((each, i) => each && near(found, i, 1, false));  // a single frame is chance
  return [voiced, voiced.map((_, i) => near(voiced, i, PAUSE, true))];
}

function backgroundPower(power, range = RANGE_DB) {
  let total = 0, squares = 0;
  for (const each of power) { total += each; squares += each * each; }
  return total ? (squares / total) * 10 ** (-range / 10) : 0;
}

const isLoud = (power) => { const limit = Math.max(largest(power) * 10 ** (RELATIVE_DB / 10), 1e-12); return power.map((each) => each > limit); };

// `wave` has values of -1...1 at 16 kHz.
export function measure(wave) {
  const seconds = wave.length / RATE;
  if (!wave.length) return { seconds: 0, speech_seconds: 0, peak: 0, level_db: -Infinity, clipped: 0, telephone: false };
  const clipped = wave.reduce((count, value) => count + (Math.abs(value) >= 0.999), 0) / wave.length;
  const middle = mean(wave), flat = new Float32Array(Math.max(FRAME, wave.length));
  let peak = 0;
  for (let i = 0; i < wave.length; i++) { flat[i] = wave[i] - middle; peak = Math.max(peak, Math.abs(flat[i])); }
  const count = Math.floor((flat.length - FRAME) / HOP) + 1;
  const power = Array.from({ length: count }, (_, i) => meanSquare(flat, i * HOP, FRAME));
  const loud = isLoud(power);
  const [voiced, speech] = findVoiced(flat, count, loud);
  const level = voiced.some(Boolean) ? 10 * Math.log10(mean(power.filter((_, i) => voiced[i]))) : -Infinity;
  const spectrum = new Float64Array(FRAME / 2 + 1);
  for (let i = 0; i < count; i++) powerSpectrum(flat, i * HOP, FRAME, FRAME, WINDOW).forEach((each, k) => { spectrum[k] += each / count; });
  const edge = 256, telephone = voiced.some(Boolean) && mean(spectrum.subarray(edge + 8)) < largest(spectrum.subarray(0, edge)) * 1e-7;
  return { seconds, speech_seconds: (seconds * speech.filter((each, i) => each && loud[i]).length) / count, peak, level_db: level, clipped, telephone };
}

function notesOf(quality) {
  const notes = [];
  if (quality.speech_seconds < 1) notes.push(`little speech: ${quality.speech_seconds.toFixed(1)} s of speech, 1 s or more are better`);
  if (quality.level_db < -45) notes.push(`quiet: the speech is ${(-quality.level_db).toFixed(0)} dB below full scale`);
  if (quality.clipped > 0.005) notes.push(`clipped: ${(100 * quality.clipped).toFixed(1)} % of the samples`);
  if (quality.telephone) notes.push("telephone: nothing above 4 kHz, the networks were trained on wideband sound");
  return notes;
}

function requireSpeech(quality, name) {
  const { seconds, peak, speech_seconds: speech } = quality;
  let finding = "";
  if (seconds < MIN_SECONDS) finding = `has ${seconds.toFixed(2)} s of sound`;
  else if (peak < 1e-3) finding = "is silent";
  else if (speech === 0) finding = `holds no voice: its ${seconds.toFixed(2)} s are noise, music or other sound`;
  else if (speech < MIN_SPEECH) finding = `holds ${speech.toFixed(2)} s of speech in ${seconds.toFixed(2)} s`;
  if (finding) throw new Error(`${name}: ${finding}, expected at least ${MIN_SECONDS} s with ${MIN_SPEECH} s of speech; record it again`);
}

export function hear(wave, name) {
  let quality = measure(wave), heard = wave;
  requireSpeech(quality, name);
  let parts = findSpokenParts(wave);
  const whole = () => parts.length === 1 && parts[0][0] === 0 && parts[0][1] === wave.length;
  if (!whole()) {
    const kept = join(wave, parts), again = measure(kept);
    if (again.seconds >= MIN_SECONDS && again.speech_seconds >= MIN_SPEECH) [heard, quality] = [kept, again];
    else parts = [[0, wave.length]];
  }
  return { heard, quality, parts, notes: [...silenceNotes(parts, wave.length), ...notesOf(quality)] };
}

function silenceNotes(parts, length) {
  const left = length - parts.reduce((sum, [begin, end]) => sum + end - begin, 0);
  if (left < RATE) return [];
  const first = parts[0][0], last = length - parts[parts.length - 1][1];
  const places = [[first, "at the beginning"], [left - first - last, "in pauses"], [last, "at the end"]].filter(([count]) => count >= 0.05 * RATE).map(([count, place]) => `${(count / RATE).toFixed(1)} s ${place}`);
  return [`silence left out: nobody speaks for ${places.join(", ")}`];
}

function join(wave, parts) {
  const kept = new Float32Array(parts.reduce((sum, [begin, end]) => sum + end - begin, 0));
  const fade = Float32Array.from({ length: FADE }, (_, i) => i / (FADE - 1));
  let place = 0;
  for (const [begin, end] of parts) {
    kept.set(wave.subarray(begin, end), place);
    if (place) {
      for (let i = 1; i <= Math.min(FADE, place); i++) kept[place - i] *= fade[i - 1];
      for (let i = 0; i < Math.min(FADE, end - begin); i++) kept[place + i] *= fade[i];
    }
    place += end - begin;
  }
  return kept;
}

const runsOf = (flags, least = 0) => {
  const runs = [];
  for (let i = 0; i < flags.length; i++) if (flags[i] && !flags[i - 1]) { let end = i; while (flags[end]) end++; if (end - i >= least) runs.push([i, end]); i = end; }
  return runs;
};

export function findSpokenParts(wave) {
  const length = wave.length, count = Math.max(1, Math.ceil((length - FRAME) / HOP) + 1), middle = mean(wave);
  const flat = new Float32Array((count - 1) * HOP + FRAME);
  for (let i = 0; i < Math.min(length, flat.length); i++) flat[i] = wave[i] - middle;
  const power = Array.from({ length: count }, (_, i) => meanSquare(flat, i * HOP, FRAME));
  const periodic = findVoiced(flat, count, power.map(() => true))[0], loud = isLoud(power);
  const limit = backgroundPower(power.filter((_, i) => periodic[i] && loud[i]));
  const speech = power.map((each, i) => periodic[i] && each > limit);
  const edges = runsOf(speech);
  if (!edges.length) return [[0, length]];
  const groups = [];
  for (const [begin, end] of edges) if (groups.length && begin - groups[groups.length - 1][1] <= RATE / HOP) groups[groups.length - 1][1] = end; else groups.push([begin, end]);
  const spoken = power.filter((_, i) => speech[i]), sorted = [...spoken].sort((a, b) => a - b), half = sorted.length >> 1;
  const quiet = Math.sqrt(backgroundPower(spoken, QUIET_DB));
  let parts = groups.map(([begin, end]) => trim(wave, Math.max(begin * HOP - MARGIN, 0), Math.min(end * HOP + FRAME - HOP + MARGIN, length), middle, quiet));
  const first = countSilent(wave.subarray(0, parts[0][0])), last = length - countSilent(wave.slice(parts[parts.length - 1][1]).reverse());
  if (parts[0][0] - first < MIN_CUT) parts[0] = [first, parts[0][1]];
  if (last - parts[parts.length - 1][1] < MIN_CUT) parts[parts.length - 1] = [parts[parts.length - 1][0], last];
  const median = Math.sqrt(sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2) * decibels(-MEDIAN_QUIET_DB);
  parts = shortenPauses(wave, parts, middle, Math.min(quiet, median));
  return shortenRoomTone(wave, parts, middle, Math.min(quiet, median));
}

function shortenPauses(wave, parts, middle, quiet) {
  const silent = Math.min(decibels(-80), quiet * decibels(QUIET_DB - 40)), rest = Math.round(KEPT_QUIET / PIECE / 2), shortened = [];
  for (const [begin, end] of parts) {
    const count = Math.floor((end - begin) / PIECE);
    if (!count) continue;
    const low = new Float32Array(count).fill(Infinity), high = new Float32Array(count).fill(-Infinity);
    for (let i = 0; i < count * PIECE; i++) { const k = (i / PIECE) | 0, value = wave[begin + i]; if (value < low[k]) low[k] = value; if (value > high[k]) high[k] = value; }
    const kept = new Array(count).fill(true);
    for (const [first, last] of runsOf(kept.map((_, k) => low[k] >= middle - quiet && high[k] <= middle + quiet), MIN_QUIET / PIECE)) kept.fill(false, first + rest, last - rest);
    for (const [first, last] of runsOf(kept.map((each, k) => each && high[k] - low[k] <= 2 * silent), MIN_SILENCE / PIECE)) kept.fill(false, first, last);
    const runs = runsOf(kept).map(([first, last]) => [begin + PIECE * first, begin + PIECE * last]);
    if (kept[count - 1]) runs[runs.length - 1][1] = end;
    shortened.push(...runs);
  }
  return shortened.length ? shortened : parts;
}

function shortenRoomTone(wave, parts, middle, quiet) {
  const limit = quiet * decibels(-3), crest = limit * decibels(12), rest = Math.round(KEPT_QUIET / TONE / 2), shortened = [];
  let left = 0, total = 0;
  for (const [begin, end] of parts) {
    const count = Math.floor((end - begin) / TONE), kept = new Array(count + 1).fill(true);
    const tone = Array.from({ length: count }, (_, k) => {
      let sum = 0, peak = 0;
      for (let i = begin + k * TONE; i < begin + (k + 1) * TONE; i++) { const value = wave[i] - middle; sum += value * value; peak = Math.max(peak, Math.abs(value)); }
      return Math.sqrt(sum / TONE) <= limit && peak <= crest;
    });
    for (const [first, last] of runsOf(tone, MIN_QUIET / TONE)) kept.fill(false, first + rest, last - rest);
    left += TONE * kept.filter((each) => !each).length;
    total += end - begin;
    for (const [first, last] of runsOf(kept)) if (begin + TONE * first < end) shortened.push([begin + TONE * first, Math.min(begin + TONE * last, end)]);
  }
  return left > TONE_SHARE * total ? shortened : parts;
}

function countLouder(wave, middle, limit) { let i = 0; while (i < wave.length && Math.abs(wave[i] - middle) <= limit) i++; return i; }
function countSilent(wave) { const count = wave.length ? countLouder(wave, wave[0], decibels(-80)) : 0; return count >= 16 ? count : 0; }
function trim(wave, begin, end, middle, quiet) {
  const part = wave.slice(begin, end), first = countLouder(part, middle, quiet);
  return first < part.length ? [begin + first, end - countLouder(part.reverse(), middle, quiet)] : [begin, end];
}
