// Markup and drawing of the fitter. Nothing here knows a network.

const slider = (name, label, low, high) => `
  <label class="et-slider"><span>${label}</span><input type="range" data-et="${name}" min="${low}"
    max="${high}" step="1" value="0"><output class="et-number" data-et="${name}-text"></output></label>`;

const options = (list) => list.map((text, k) => `<option value="${k}">${text}</option>`).join("");

const fitPanel = (name, title, note) => `
  <div class="et-fit et-fit-${name}">
    <p class="et-head">${title}</p>
    <p class="et-note">${note}</p>
    <div class="et-stage" tabindex="0" role="group" data-et="${name}-stage" aria-label="The scan and what
      ${title} makes of it. Drag sideways, or use the arrow keys, to turn the scan; with Shift by 36
      degrees, Home to go back."><canvas data-et="${name}-view" width="640" height="640" role="img"
      aria-label="Points colored by predicted part, over the predicted body"></canvas></div>
    <dl class="et-numbers">
      <div><dt>rotations off by</dt><dd class="et-number" data-et="${name}-error"></dd></div>
      <div><dt>surface off by</dt><dd class="et-number" data-et="${name}-gap"></dd></div>
      <div><dt>parts right</dt><dd class="et-number" data-et="${name}-right"></dd></div>
    </dl>
  </div>`;

function fitterMarkup(poses, axes, bends, names) {
  return `<div class="et-fitter">
    <div class="et-poses" role="group" aria-label="Choose a pose">${poses
      .map((name) => `<button type="button" class="et-pose et-button">${name}</button>`).join("")}</div>
    <div class="et-pair">
      ${fitPanel("pointnet", "PointNet", "no symmetry built in")}
      ${fitPanel("arteq", "ArtEq", "60 rotations built in")}
    </div>
    <div class="et-knobs">
      ${slider("angle", "turn", 0, 359)}
      <label class="et-slider et-choice"><span>about</span><select data-et="axis">${options(axes.map((a) => a.name))}</select></label>
      ${bends.map((b, k) => slider(`bend-${k}`, b.name, b.low, b.high)).join("")}
      <span class="et-buttons"><button type="button" class="et-button" data-et="snap">Next of the 60 on this axis</button>
      <button type="button" class="et-button" data-et="home">Back to rest</button></span>
    </div>
    <div class="et-pair">
      <div class="et-fit">
        <p class="et-head">How ArtEq turns 60 weights into one rotation</p>
        <label class="et-note">part <select data-et="part">${options(names)}</select> off by
          <span class="et-number" data-et="arteq-part"></span> (PointNet: <span class="et-number"
          data-et="pointnet-part"></span>)</label>
        <canvas data-et="ball" width="640" height="560" role="img" aria-label="A ball with 60 dots, one
          for each rotation. The size of a dot is its weight. A ring marks the true rotation, a cross
          the predicted one."></canvas>
        <p class="et-note">Place: axis times angle. Size: weight, less the mean of all 60, which adds up to nothing; blue
          counts for, orange against. Ring: true rotation. Cross: predicted.</p>
      </div>
      <div class="et-fit">
        <p class="et-head">Error along the turn</p>
        <p class="et-note">Click to jump. Dotted: where the axis meets the 60.</p>
        <canvas data-et="curve" width="640" height="560" role="img" aria-label="Mean rotation error of
          both networks against the angle of the turn"></canvas>
        <p class="et-note" data-et="seen"></p>
      </div>
    </div>
    <p class="et-live" aria-live="polite" data-et="live"></p>
  </div>`;
}

const ink = (canvas, name) => getComputedStyle(canvas).getPropertyValue(name).trim();

// The scan over the predicted surface, which is the more orange the farther it is off.
function drawFit(canvas, scene, { guess, gaps, labels }, faces, reach, colors) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const n = guess.length / 3;
  const middle = [0, 1, 2].map((d) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += scene.vertices[3 * i + d] / n;
    return sum;
  });
  const see = camera(canvas, middle, 0.52 / reach);
  drawSurface(context, see, guess, faces, (f) => {
    const t = Math.min(1, (gaps[faces[3 * f]] + gaps[faces[3 * f + 1]] + gaps[faces[3 * f + 2]]) / 3 / 0.3);
    return [205 + 30 * t, 214 - 100 * t, 222 - 170 * t];
  });
  const dots = labels.map((q, i) => [...see(...scene.points.subarray(3 * i, 3 * i + 3)), q]);
  dots.sort((a, b) => b[2] - a[2]);
  context.lineWidth = 1;
  context.strokeStyle = "#0009";
  for (const [x, y, , q] of dots) {
    context.fillStyle = colors[q];
    context.beginPath();
    context.arc(x, y, canvas.width / 130, 0, 7);
    context.fill();
    context.stroke();
  }
}

function drawBall(canvas, weights, elements, truth, guess) {
  const context = canvas.getContext("2d");
  const [w, h] = [canvas.width, canvas.height];
  const see = camera(canvas, [0, 0, 0], (0.46 * h) / w / Math.PI);
  context.clearRect(0, 0, w, h);
  context.strokeStyle = ink(canvas, "--et-line");
  context.lineWidth = 2;
  context.beginPath();
  context.arc(w / 2, h / 2, 0.46 * h, 0, 7);
  context.stroke();
  const mean = weights.reduce((a, b) => a + b, 0) / weights.length; // it adds up to nothing
  const shown = [...weights].map((v) => v - mean);
  const most = Math.max(...shown.map(Math.abs));
  const dots = shown.map((v, a) => [...see(...rotationVector(nine(elements, a))), v]);
  for (const [x, y, depth, v] of dots.sort((a, b) => b[2] - a[2])) {
    context.globalAlpha = 0.9 - 0.45 * (depth / Math.PI + 1) / 2;
    context.fillStyle = ink(canvas, v < 0 ? "--et-plain" : "--et-anchored");
    context.beginPath();
    context.arc(x, y, 2 + 26 * Math.sqrt(Math.abs(v) / most), 0, 7);
    context.fill();
  }
  context.globalAlpha = 1;
  context.strokeStyle = ink(canvas, "--et-ink");
  context.lineWidth = 4;
  let [x, y] = see(...rotationVector(truth));
  context.beginPath();
  context.arc(x, y, 15, 0, 7);
  context.stroke();
  [x, y] = see(...rotationVector(guess));
  context.beginPath();
  for (const s of [-1, 1]) {
    context.moveTo(x - 11, y - 11 * s);
    context.lineTo(x + 11, y + 11 * s);
  }
  context.stroke();
}

const PLOT = { left: 78, right: 34, top: 20, bottom: 62, width: 640, height: 560 };
const curveAngle = (share) =>
  Math.min(359, Math.max(0, (360 * (share * PLOT.width - PLOT.left)) / (PLOT.width - PLOT.left - PLOT.right)));

function drawCurve(canvas, curve, angle, marks, step) {
  const context = canvas.getContext("2d");
  const { left, right, top, bottom, width, height } = PLOT;
  const x = (v) => left + (v / 360) * (width - left - right);
  const y = (v) => height - bottom - (v / 180) * (height - top - bottom);
  const line = (x1, y1, x2, y2) => {
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
  };
  context.clearRect(0, 0, width, height);
  context.font = "22px system-ui, sans-serif";
  context.fillStyle = ink(canvas, "--et-soft");
  context.strokeStyle = ink(canvas, "--et-line");
  context.lineWidth = 2;
  context.textAlign = "right";
  for (let v = 0; v <= 180; v += 45) {
    line(left, y(v), width - right, y(v));
    context.fillText(`${v}°`, left - 10, y(v) + 8);
  }
  context.textAlign = "center";
  for (let v = 0; v <= 360; v += 90) context.fillText(`${v}°`, x(v), height - bottom + 26);
  context.fillText("turn", x(180), height - 8);
  context.setLineDash([3, 7]);
  context.strokeStyle = ink(canvas, "--et-ink");
  for (const v of marks) line(x(v), y(0), x(v), y(180));
  context.setLineDash([]);
  for (const [name, color, label, place] of [
    ["pointnet", "--et-plain", "PointNet", 0], ["arteq", "--et-anchored", "ArtEq", 1],
  ]) {
    context.strokeStyle = context.fillStyle = ink(canvas, color);
    context.lineWidth = 4;
    const known = [...curve[name].entries()].filter(([, v]) => v !== undefined);
    context.beginPath();
    known.forEach(([k, v], i) => {
      const joined = i && known[i - 1][0] === k - 1;
      context[joined ? "lineTo" : "moveTo"](x(k * step), y(v));
    });
    context.stroke();
    for (const [k, v] of known) context.fillRect(x(k * step) - 4, y(v) - 4, 8, 8);
    context.textAlign = "left";
    context.fillStyle = ink(canvas, "--et-ground"); // the words lie on dotted lines
    context.fillRect(left + 10 + 130 * place, top + 1, context.measureText(label).width + 8, 26);
    context.fillStyle = ink(canvas, color);
    context.fillText(label, left + 14 + 130 * place, top + 20);
  }
  context.strokeStyle = ink(canvas, "--et-ink");
  context.lineWidth = 3;
  line(x(angle), y(0) + 12, x(angle), y(180));
}
