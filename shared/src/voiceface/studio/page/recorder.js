// Records the microphone as a WAV file, without loss: 16 bits at the rate of the device.
export function encodeWav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 1, true); view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) for (const value of block) { view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(32767 * value))), true); at += 2; }
  return new Blob([view], { type: "audio/wav" });
}

// One context for all recordings: what it needs is loaded once, and can be loaded before anybody records.
let opened = null;
async function open() {
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("collector.js", import.meta.url));
  return context;
}
export function prepareRecorder() { return (opened ??= open().catch((error) => { opened = null; throw error; })); }

export class Recorder {
  constructor(onLevel) { this.onLevel = onLevel; this.running = false; }
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("A microphone needs https, or this machine's own address (127.0.0.1).");
    try {
      // What a browser does to a voice for calls would change what the networks hear.
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    } catch (error) {
      throw new Error(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : "No microphone was found.");
    }
    this.context = await prepareRecorder();
    await this.context.resume();
    this.node = new AudioWorkletNode(this.context, "collector", { numberOfOutputs: 0 });
    this.blocks = [];
    this.count = 0;
    this.running = true;
    this.node.port.onmessage = ({ data }) => {
      if (!this.running) return;
      this.blocks.push(data);
      this.count += data.length;
      let peak = 0;
      for (const value of data) peak = Math.max(peak, Math.abs(value));
      this.onLevel(peak, this.seconds);
    };
    this.origin = this.context.createMediaStreamSource(this.stream);
    this.origin.connect(this.node);
  }
  get seconds() { return this.count / this.context.sampleRate; }
  async stop() {
    this.running = false;
    for (const track of this.stream.getTracks()) track.stop();
    const wav = encodeWav(this.blocks, this.context.sampleRate);
    this.origin.disconnect();
    this.node.port.close();
    await this.context.suspend();
    return wav;
  }
}
