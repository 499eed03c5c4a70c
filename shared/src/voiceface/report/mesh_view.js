window.showMesh = (canvas) => {
  const gl = canvas.getContext("webgl", { antialias: true, alpha: true, preserveDrawingBuffer: true });
  if (!gl || (canvas.dataset.wide && !gl.getExtension("OES_element_index_uint"))) return;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const box = canvas.dataset.box.split(" ").map(Number);
  const steps = new Uint16Array(bytes(canvas.dataset.points));
  const corners = new (canvas.dataset.wide ? Uint32Array : Uint16Array)(bytes(canvas.dataset.corners));
  const count = steps.length / 3;
  const largest = Math.max(box[3], box[4], box[5]);
  const points = new Float32Array(steps.length), normals = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i++) points[i] = (2 * (steps[i] / 65535 - 0.5) * box[3 + (i % 3)]) / largest;
  for (let t = 0; t < corners.length; t += 3) {
    const [a, b, c] = [3 * corners[t], 3 * corners[t + 1], 3 * corners[t + 2]];
    const u = [0, 1, 2].map((k) => points[b + k] - points[a + k]), v = [0, 1, 2].map((k) => points[c + k] - points[a + k]);
    const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const at of [a, b, c]) for (let k = 0; k < 3; k++) normals[at + k] += n[k];
  }
  const colors = canvas.dataset.colors ? new Uint8Array(bytes(canvas.dataset.colors)) : new Uint8Array(3 * count).map((_, i) => [214, 190, 172][i % 3]);

  const compile = (kind, source) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    return shader;
  };
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl.VERTEX_SHADER, `
    attribute vec3 point; attribute vec3 normal; attribute vec3 color;
    uniform mat3 turn; uniform vec2 fit;
    varying vec3 facing; varying vec3 paint;
    void main() {
      vec3 p = turn * point;
      facing = turn * normal; paint = color;
      gl_Position = vec4(p.xy * fit, -0.3 * p.z, 1.0 - 0.12 * p.z);
    }`));
  gl.attachShader(program, compile(gl.FRAGMENT_SHADER, `
    precision mediump float;
    varying vec3 facing; varying vec3 paint;
    void main() {
      vec3 n = normalize(facing);
      if (!gl_FrontFacing) n = -n;
      float key = max(dot(n, normalize(vec3(-0.45, 0.5, 0.9))), 0.0), fill = max(dot(n, normalize(vec3(0.8, 0.1, 0.5))), 0.0);
      float shine = pow(max(dot(n, normalize(vec3(-0.22, 0.25, 1.0))), 0.0), 24.0);
      vec3 lit = paint * (0.24 + 0.66 * key + 0.22 * fill) + 0.10 * shine;
      gl_FragColor = vec4(gl_FrontFacing ? lit : 0.45 * lit, 1.0);
    }`));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  const feed = (name, values, kind, scaled) => {
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, kind, scaled, 0, 0);
  };
  feed("point", points, gl.FLOAT, false);
  feed("normal", normals, gl.FLOAT, false);
  feed("color", colors, gl.UNSIGNED_BYTE, true);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
  gl.enable(gl.DEPTH_TEST);

  const start = { across: -0.42, down: 0.08, zoom: 1 };
  let { across, down, zoom } = start, waiting = false;
  const draw = () => {
    waiting = false;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * Math.min(devicePixelRatio || 1, 2))));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [ca, sa, cd, sd] = [Math.cos(across), Math.sin(across), Math.cos(down), Math.sin(down)];
    gl.uniformMatrix3fv(gl.getUniformLocation(program, "turn"), false, [ca, sd * sa, -cd * sa, 0, cd, sd, sa, -sd * ca, cd * ca]);
    const size = 0.82 * zoom * Math.min(width, height);
    gl.uniform2f(gl.getUniformLocation(program, "fit"), size / width, size / height);
    gl.drawElements(gl.TRIANGLES, corners.length, canvas.dataset.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
  };
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
  const limit = () => { down = Math.max(-1.4, Math.min(1.4, down)); zoom = Math.max(0.4, Math.min(6, zoom)); later(); };

  const fingers = new Map();
  const span = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, { x: event.clientX, y: event.clientY }); });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const apart = fingers.size > 1 ? span() : 0;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size > 1) zoom *= span() / Math.max(apart, 1);
    else { across += 0.01 * (event.clientX - before.x); down += 0.01 * (event.clientY - before.y); }
    limit();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom *= Math.exp(-0.0012 * event.deltaY); limit(); }, { passive: false });
  canvas.addEventListener("dblclick", () => { ({ across, down, zoom } = start); later(); });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-0.1, 0, 1], ArrowRight: [0.1, 0, 1], ArrowUp: [0, -0.1, 1], ArrowDown: [0, 0.1, 1], "+": [0, 0, 1.1], "-": [0, 0, 0.9] }[event.key];
    if (!move) return;
    event.preventDefault();
    across += move[0]; down += move[1]; zoom *= move[2];
    limit();
  });
  canvas.addEventListener("webglcontextlost", () => canvas.closest(".stage").classList.remove("live"));
  canvas.hidden = false;
  canvas.nextElementSibling.hidden = false;
  canvas.closest(".stage").classList.add("live");
  if ("ResizeObserver" in window) new ResizeObserver(later).observe(canvas);
  draw();
};
for (const canvas of document.querySelectorAll(".mesh canvas")) window.showMesh(canvas);
