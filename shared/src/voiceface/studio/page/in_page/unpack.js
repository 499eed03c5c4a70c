// Compressed files; some servers have told the browser to unpack them already.
export function unpack(bytes) {
  const [first, second] = new Uint8Array(bytes, 0, 2), blob = new Blob([bytes]);
  return new Response(first === 0x1f && second === 0x8b ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob);
}
