// The soft-equivariance explorer: trained weights move towards a symmetry and beyond it.
// Concatenated behind soft-nn.js, whose functions it uses.

const TIMES = Array.from({ length: 31 }, (_, k) => k / 20); // 0 ... 1.5
const END = 1.5; // of t
const CAP = 120; // % of the variance; at 100 % the mean of the targets would do as well
const [LEFT, RIGHT, ABOVE, BELOW] = [78, 34, 20, 46]; // margins of a chart
const percent = (v) => `${v < 0.1 && v > 0 ? v.toExponential(0) : v.toFixed(1)} %`;

// Round numbers from 0 to at most `top`, at most five steps.
function softTicks(top) {
  const raw = top / 5;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * size).find((v) => v >= raw * (1 - 1e-9));
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, k) =>
    Number((k * step).toPrecision(3)));
}

const softEscaped = (text) => {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML;
};

function softMarkup(names, groups, holds, count) {
  const choice = (kind, values) => values
    .map((v) => `<button type="button" class="et-choice" data-et-${kind}="${softEscaped(v)}">${
      softEscaped(v)}${v === holds ? " ✓" : ""}</button>`).join("");
  return `<div class="et-soft">
    <div class="et-soft-top">
      <div role="group" aria-label="Network"><span class="et-label">network</span>${
        choice("net", names)}</div>
      <div role="group" aria-label="Group"><span class="et-label">move towards</span>${
        choice("group", groups)}</div>
    </div>
    <label class="et-soft-slider"><span>t</span>
      <input type="range" min="0" max="1.5" step="0.05" value="1" data-et="t"
        aria-label="t: 0 is exactly equivariant, 1 is the trained network">
      <output class="et-number" data-et="t-text"></output></label>
    <p class="et-note">W<sub>t</sub> = P W + t (W − P W). At 0 it is exactly equivariant, at 1 as
      trained. ✓: the symmetry that the task has. One network each and ${count} test samples, so the
      numbers are not the means of a table.</p>
    <div class="et-soft-stage">
      <div><p class="et-head">Test error <span class="et-number" data-et="loss"></span></p>
        <p class="et-note">of the variance, against t. Lowest at t = <span class="et-number"
          data-et="best">…</span>. <span data-et="cap"></span></p>
        <canvas data-et="loss-plot" width="520" height="340" role="img"></canvas></div>
      <div><p class="et-head">Function error <span class="et-number" data-et="error"></span></p>
        <p class="et-note">mean over the chosen group, against t</p>
        <canvas data-et="error-plot" width="520" height="340" role="img"></canvas></div>
      <div><p class="et-head">Around the orbit</p>
        <p class="et-note">error for each angle of a turn<span data-et="axis"></span>; dashed: as
          trained</p>
        <canvas data-et="orbit" width="520" height="340" role="img"></canvas></div>
      <div><p class="et-head">First layer, W<sub>t</sub></p>
        <p class="et-note">outputs down, inputs across; orange minus, blue plus</p>
        <canvas data-et="weights" role="img" aria-label="Weights of the first layer at the chosen t"
          ></canvas></div>
    </div>
    <p class="et-live" aria-live="polite" data-et="live"></p></div>`;
}

function mount(root, data, onChange) {
  const { groups, repIn, repOut, count, holds } = data;
  const names = Object.keys(data.networks);
  const [nIn, nOut] = [repSize(repIn), repSize(repOut)];
  const samples = Array.from({ length: count }, (_, k) => ({
    x: data.x.subarray(k * nIn, (k + 1) * nIn),
    y: data.y.subarray(k * nOut, (k + 1) * nOut),
  }));
  const matrices = (packed) =>
    Array.from({ length: packed.length / 9 }, (_, k) => packed.subarray(9 * k, 9 * k + 9));
  const few = samples.slice(0, 16);
  const state = { net: names[0], group: data.group, t: 1 };
  const mean = data.y.reduce((a, b) => a + b, 0) / data.y.length;
  const variance = data.y.reduce((a, b) => a + (b - mean) ** 2, 0) / (data.y.length - 1);
  root.innerHTML = softMarkup(names, groups.map((g) => g.name), holds, count);
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const color = (name) => getComputedStyle(root.querySelector(".et-soft")).getPropertyValue(name);

  const layersAt = (net, g, t) =>
    blend(data.networks[net].layers, data.networks[net].projected[g], t);

  function testError(net, layers) {
    let sum = 0;
    for (const { x, y } of samples) {
      const out = typedForward(data.networks[net], layers, x);
      for (let i = 0; i < nOut; i++) sum += (out[i] - y[i]) ** 2;
    }
    return (100 * sum) / (count * nOut) / variance;
  }

  function orbitErrors(net, layers, elements) {
    const still = few.map(({ x }) => typedForward(data.networks[net], layers, x));
    return elements.map((h) => {
      let total = 0;
      few.forEach(({ x }, k) => {
        const a = typedForward(data.networks[net], layers, actOn(h, x, repIn));
        const b = actOn(h, still[k], repOut);
        let [gap, left, right] = [0, 0, 0];
        for (let i = 0; i < nOut; i++) {
          gap += (a[i] - b[i]) ** 2;
          left += a[i] ** 2;
          right += b[i] ** 2;
        }
        total += Math.sqrt(gap) / Math.max(1e-30, Math.sqrt(left) + Math.sqrt(right));
      });
      return (100 * total) / few.length;
    });
  }
  const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  // Everything about one network at one t, computed once.
  const known = {};
  function at(net, g, t) {
    const key = `${net}|${g}|${t.toFixed(2)}`;
    if (!known[key]) {
      const layers = layersAt(net, g, t);
      known[key] = {
        loss: testError(net, layers),
        error: average(orbitErrors(net, layers, matrices(groups[g].elements))),
      };
    }
    return known[key];
  }
  const turned = {};
  function around(net, g, t) {
    const key = `${net}|${g}|${t.toFixed(2)}`;
    turned[key] ??= orbitErrors(net, layersAt(net, g, t), matrices(groups[g].turns));
    return turned[key];
  }

  function frame(canvas, top, xs, labels) {
    const c = canvas.getContext("2d");
    const [w, h] = [canvas.width, canvas.height];
    const box = {
      x: (v) => LEFT + (v / xs) * (w - LEFT - RIGHT),
      y: (v) => h - BELOW - (Math.min(v, top) / top) * (h - ABOVE - BELOW),
    };
    c.clearRect(0, 0, w, h);
    c.font = "20px system-ui, sans-serif";
    c.fillStyle = c.strokeStyle = color("--et-soft");
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(LEFT, ABOVE); c.lineTo(LEFT, h - BELOW); c.lineTo(w - RIGHT, h - BELOW);
    c.stroke();
    c.textAlign = "center";
    for (const [v, text] of labels) c.fillText(text, box.x(v), h - 18);
    c.textAlign = "right";
    for (const v of softTicks(top)) c.fillText(`${v} %`, LEFT - 8, box.y(v) + 7);
    return { c, box };
  }
  function line({ c, box }, xs, ys, stroke, dash = []) {
    c.strokeStyle = stroke;
    c.lineWidth = 4;
    c.setLineDash(dash);
    c.beginPath();
    xs.forEach((x, k) => (k ? c.lineTo(box.x(x), box.y(ys[k])) : c.moveTo(box.x(x), box.y(ys[k]))));
    c.stroke();
    c.setLineDash([]);
  }
  function dot({ c, box }, x, y, fill) {
    c.fillStyle = fill;
    c.strokeStyle = color("--et-ground");
    c.lineWidth = 3;
    c.beginPath();
    c.arc(box.x(x), box.y(y), 10, 0, 2 * Math.PI);
    c.fill();
    c.stroke();
  }

  function curve(name, key, found) {
    const { net, group, t } = state;
    const here = at(net, group, t)[key];
    const ready = TIMES.filter((_, k) => found[k]);
    const values = found.filter(Boolean).map((f) => f[key]);
    const most = Math.max(...values, here, 0.5) * 1.05;
    const top = key === "loss" ? Math.min(CAP, most) : most;
    if (key === "loss") write("cap", most > CAP ? `The axis ends at ${CAP} %.` : "");
    const plot = frame(part(name), top, END, [[0, "0"], [0.5, "0.5"], [1, "1"], [1.5, "1.5"]]);
    line(plot, ready, values, color("--et-anchored"));
    dot(plot, t, here, color("--et-plain"));
    part(name).setAttribute("aria-label", `${key} in percent against t; at t = ${t} it is ${
      percent(here)}`);
  }

  function drawOrbit() {
    const { net, group, t } = state;
    const { axis, several } = groups[group];
    write("axis", axis ? ` about ${axis}${several ? " (other axes are not shown)" : ""}` : "");
    const [now, then] = [around(net, group, t), around(net, group, 1)];
    const angles = now.map((_, k) => (360 * k) / now.length);
    const top = Math.max(...now, ...then, 0.5) * 1.05;
    const plot = frame(part("orbit"), top, 360, [[0, "0°"], [90, "90°"], [180, "180°"],
      [270, "270°"], [360, "360°"]]);
    line(plot, [...angles, 360], [...then, then[0]], color("--et-soft"), [8, 8]);
    line(plot, [...angles, 360], [...now, now[0]], color("--et-plain"));
    part("orbit").setAttribute("aria-label",
      `Orbit error by angle, at most ${percent(Math.max(...now))}`);
  }

  function drawWeights() {
    const { net, group, t } = state;
    const { weight, bias } = layersAt(net, group, t)[0];
    const canvas = part("weights");
    const rows = bias.length;
    [canvas.width, canvas.height] = [nIn, rows];
    const c = canvas.getContext("2d");
    const pixels = c.createImageData(nIn, rows);
    const most = Math.max(...data.networks[net].layers[0].weight.map(Math.abs));
    weight.forEach((v, k) => {
      const s = Math.sqrt(Math.min(1, Math.abs(v) / most));
      const [r, g, b] = v < 0 ? [213, 94, 0] : [0, 114, 178];
      pixels.data.set([r, g, b, Math.round(255 * s)], 4 * k);
    });
    c.putImageData(pixels, 0, 0);
  }

  let [filling, speaking] = [0, 0];
  function paint() {
    const { net, group, t } = state;
    part("t").value = t;
    write("t-text", t.toFixed(2));
    root.querySelectorAll("[data-et-net]").forEach((b) =>
      b.setAttribute("aria-pressed", String(b.dataset.etNet === net)));
    root.querySelectorAll("[data-et-group]").forEach((b) =>
      b.setAttribute("aria-pressed", String(b.dataset.etGroup === groups[group].name)));
    const { loss, error } = at(net, group, t);
    write("loss", percent(loss));
    write("error", percent(error));
    drawOrbit();
    drawWeights();
    paintCurves();
    clearTimeout(speaking);
    speaking = setTimeout(() => write("live", `${net}, ${groups[group].name}, t = ${t.toFixed(2)}: ${
      ""}test error ${percent(loss)}, function error ${percent(error)}.`), 500);
  }
  function paintCurves() {
    const { net, group } = state;
    const found = TIMES.map((t) => known[`${net}|${group}|${t.toFixed(2)}`]);
    curve("loss-plot", "loss", found);
    curve("error-plot", "error", found);
    const missing = found.findIndex((f) => !f);
    if (missing < 0) {
      const best = found.reduce((b, f, k) => (f.loss < found[b].loss ? k : b), 0);
      write("best", TIMES[best].toFixed(2));
    } else {
      write("best", "…");
      clearTimeout(filling); // one value at a time, so that the slider stays alive
      filling = setTimeout(() => {
        if (!root.isConnected) return;
        at(net, group, TIMES[missing]);
        paintCurves();
      }, 0);
    }
  }
  function go(next) {
    Object.assign(state, next);
    paint();
    onChange({ ...state });
  }

  part("t").addEventListener("input", (event) => go({ t: Number(event.target.value) }));
  for (const name of ["loss-plot", "error-plot"]) { // a chart sets t, as the slider does
    const aim = (event) => {
      const box = part(name).getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * part(name).width;
      const t = (END * (at - LEFT)) / (part(name).width - LEFT - RIGHT);
      go({ t: Math.round(20 * Math.min(END, Math.max(0, t))) / 20 });
    };
    part(name).addEventListener("pointerdown", aim);
    part(name).addEventListener("pointermove", (event) => event.buttons === 1 && aim(event));
  }
  root.querySelectorAll("[data-et-net]").forEach((button) =>
    button.addEventListener("click", () => go({ net: button.dataset.etNet })));
  root.querySelectorAll("[data-et-group]").forEach((button, g) =>
    button.addEventListener("click", () => go({ group: g })));
  const theme = new MutationObserver(paint);
  theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  paint();
  return {
    get: () => ({ ...state }),
    set(next) {
      Object.assign(state, next);
      paint();
    },
    stop: () => theme.disconnect(),
  };
}
