// Shrink a matrix and watch its nearest rotation lose its mind. Behind articulated-body.js.

const COLORS = ["#d55e00", "#009e73", "#0072b2"];

function projectionMarkup() {
  return `<div class="et-svd">
    <div class="et-svd-pair">
      <canvas data-et="axes" width="560" height="520" role="img" aria-label="Axes of sixty rotations:
        a tight bundle for a large matrix, all over the sphere for a small one"></canvas>
      <canvas data-et="gain" width="640" height="520" role="img" aria-label="Largest gain of the
        projection against the size of M: it falls like one over the size"></canvas>
    </div>
    <label class="et-slider"><span>size of M</span><input type="range" data-et="size" min="-200"
      max="20" step="2" value="0"><output class="et-number" data-et="size-text"></output></label>
    <p class="et-note">The noise has size <span class="et-number" data-et="noise"></span>. The rotations swing by
      <strong class="et-number" data-et="spread"></strong> on average; a change of M comes out up to
      <strong class="et-number" data-et="factor"></strong> times as large.</p>
    <p class="et-live" aria-live="polite" data-et="live"></p>
  </div>`;
}

function mount(root, data, onChange) {
  const { noise, rotation, amount } = data;
  const state = { size: data.start }; // log10 of the Frobenius norm of M, in hundredths
  const truth = Float64Array.from(rotation);
  root.innerHTML = projectionMarkup();
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const color = (canvas, name) => getComputedStyle(canvas).getPropertyValue(name).trim();

  function bundle() {
    const scale = 10 ** (state.size / 100) / Math.sqrt(3);
    return Array.from({ length: noise.length / 9 }, (_, k) =>
      projectSO3(truth.map((v, i) => scale * v + amount * noise[9 * k + i])));
  }
  function drawAxes(found) {
    const canvas = part("axes");
    const context = canvas.getContext("2d");
    const [w, h] = [canvas.width, canvas.height];
    const see = camera(canvas, [0, 0, 0], (0.44 * h) / w);
    context.clearRect(0, 0, w, h);
    context.strokeStyle = color(canvas, "--et-line");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(w / 2, h / 2, 0.44 * h, 0, 7);
    context.stroke();
    for (const [alpha, width, list] of [[0.35, 2, found], [1, 7, [truth]]])
      for (const m of list)
        for (let j = 0; j < 3; j++) {
          const [x, y] = see(m[j], m[3 + j], m[6 + j]);
          context.globalAlpha = alpha;
          context.strokeStyle = context.fillStyle = COLORS[j];
          context.lineWidth = width;
          context.beginPath();
          context.moveTo(w / 2, h / 2);
          context.lineTo(x, y);
          context.stroke();
          context.beginPath();
          context.arc(x, y, 2 + width, 0, 7);
          context.fill();
        }
    context.globalAlpha = 1;
  }
  function drawGain(factor) {
    const canvas = part("gain");
    const context = canvas.getContext("2d");
    const [left, right, top, bottom] = [96, 20, 20, 84];
    const x = (v) => left + ((v + 2.05) / 2.3) * (canvas.width - left - right); // log10 of the size
    const y = (v) => canvas.height - bottom - (v / 2.6) * (canvas.height - top - bottom);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.font = "22px system-ui, sans-serif";
    context.fillStyle = color(canvas, "--et-soft");
    context.strokeStyle = color(canvas, "--et-line");
    context.lineWidth = 2;
    for (let v = 0; v <= 2; v++) {
      context.beginPath();
      context.moveTo(left, y(v));
      context.lineTo(canvas.width - right, y(v));
      context.stroke();
      context.textAlign = "right";
      context.fillText(`× ${10 ** v}`, left - 10, y(v) + 8);
      context.textAlign = "center";
      context.fillText(String(10 ** (v - 2)), x(v - 2), canvas.height - bottom + 30);
    }
    context.fillText("size of M", (left + canvas.width - right) / 2, canvas.height - 14);
    context.strokeStyle = color(canvas, "--et-plain");
    context.lineWidth = 4;
    context.beginPath();
    const gain = (v) => Math.log10(Math.sqrt(3)) - v; // |M| = s sqrt(3), gain 1 / s
    context.moveTo(x(-2), y(gain(-2)));
    context.lineTo(x(0.2), y(gain(0.2)));
    context.stroke();
    context.fillStyle = color(canvas, "--et-ink");
    context.beginPath();
    context.arc(x(state.size / 100), y(Math.log10(factor)), 11, 0, 7);
    context.fill();
    context.textAlign = "left";
    context.fillStyle = color(canvas, "--et-plain-ink");
    context.fillText("largest gain, 2 / (s₂ + s₃)", x(-1.1), y(2.2));
  }
  function paint() {
    const size = 10 ** (state.size / 100);
    const factor = Math.sqrt(3) / size;
    const found = bundle();
    const spread = found.reduce((sum, m) => sum + angleBetween(truth, m), 0) / found.length;
    part("size").value = state.size;
    write("size-text", size.toFixed(2));
    write("noise", amount.toFixed(2));
    write("spread", `${((spread * 180) / Math.PI).toFixed(1)}°`);
    write("factor", factor.toFixed(factor < 10 ? 1 : 0));
    write("live", `Size ${size.toFixed(2)}: the rotations swing by ${((spread * 180) / Math.PI).toFixed(0)} degrees.`);
    drawAxes(found);
    drawGain(factor);
  }
  part("size").addEventListener("input", (event) => {
    state.size = Number(event.target.value);
    paint();
    onChange({ ...state });
  });
  followTheme(root, paint);
  paint();
  return {
    get: () => ({ ...state }),
    set(next) {
      Object.assign(state, next);
      paint();
    },
  };
}
