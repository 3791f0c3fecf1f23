// Markup and drawing of the polyphase explorer. Nothing here knows a network.

const CIVIDIS = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 174, 108], [255, 234, 70]];
const GRID = { plain: "#ff8a3c", anchored: "#6cc3f5" }; // both on a dark picture

const panel = (area, title, note, body) => `
  <div class="et-panel et-${area}">
    <p class="et-head">${title}</p>
    <p class="et-note">${note}</p>
    ${body}
  </div>`;

const picture = (name, label) =>
  `<canvas class="et-picture" data-et="${name}" role="img" aria-label="${label}"></canvas>`;

const slider = (name, label, n) => `
  <label class="et-slider"><span>${label}</span>
    <input type="range" data-et="${name}" min="${-Math.floor(n / 2)}" max="${Math.ceil(n / 2) - 1}"
      step="1" value="0"><output class="et-number" data-et="${name}-text">+0</output></label>`;

const pair = (name) => `<span class="et-number" data-et="${name}-dx"></span> right,
  <span class="et-number" data-et="${name}-dy"></span> down`;

const escaped = (text) => {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML;
};

const answer = (name, classes) => `
  <div class="et-panel et-answer et-answer-${name}" data-et="${name}-answer">
    <div class="et-verdict">
      <span class="et-class" data-et="${name}-class"></span>
      <span class="et-words"><span class="et-name">${name} ViT</span>
        <span data-et="${name}-verdict"></span></span>
    </div>
    <div class="et-bars" role="img" data-et="${name}-bars">${classes
      .map((c) => `<div class="et-bar"><span class="et-label">${escaped(c)}</span><span
        class="et-track"><span class="et-fill"></span></span><span class="et-number"></span></div>`)
      .join("")}</div>
    <p class="et-note">logits moved by <span class="et-number" data-et="${name}-moved"></span></p>
  </div>`;

const map = (name, [h, w], count) => `
  <div class="et-panel et-map-${name}">
    <p class="et-head">${name}: all ${count} shifts</p>
    <div class="et-map" tabindex="0" data-et="${name}-map" role="group" aria-label="Map of all
      shifts for the ${name} network. Click to jump; arrow keys move."><canvas width="${w}"
      height="${h}"></canvas><span class="et-marker"></span></div>
    <p class="et-note">right at <strong class="et-number" data-et="${name}-share"></strong>
      of shifts seen<br>largest logit change <strong class="et-number"
      data-et="${name}-worst"></strong></p>
  </div>`;

function markup({ size: [h, w], patch: [ph, pw] }, classes, count, compact) {
  const full = (html) => (compact ? "" : html);
  const drag = `<div class="et-drag" tabindex="0" data-et="drag" role="group" aria-label="The image:
    drag it, or use the arrow keys to move it by a pixel, with Shift by a patch, Home to go back">
    ${picture("shifted", "The shifted image under the fixed grid of patches")}
    <span class="et-hint" data-et="hint">drag me</span></div>`;
  const cells = Array(ph).fill(`<tr>${"<td><i></i><b></b></td>".repeat(pw)}</tr>`).join("");
  return `<div class="et-poly ${compact ? "et-compact" : ""}">
    <div class="et-picker" data-et="picker" role="group" aria-label="Choose an image">${Array(count)
      .fill('<button type="button" class="et-thumb"><canvas></canvas></button>').join("")}</div>
    <div class="et-stage">
    ${panel("in", compact ? "Move the image" : "What the plain ViT sees",
      "The grid of patches stays where it is.",
      drag + `<p class="et-note">moved ${pair("where")}</p>`)}
    ${full(panel("phases", `Scores of ${ph * pw} components`,
      "Sum of squares over every " + (ph === pw ? `${ph}th` : "n-th") + " pixel, for each start.",
      `<table class="et-phases${ph * pw > 25 ? " et-many" : ""}" data-et="phases"><tbody>${cells}</tbody></table>
      <p class="et-note">winner: <span data-et="winner"></span></p>`) +
    panel("out", "What the anchored ViT sees", "The winner is rolled to the corner of the grid.",
      picture("anchored", "The anchored image under the same grid") +
      `<p class="et-note">moved ${pair("patches")}, whole patches</p>`))}
    <div class="et-controls">
      ${slider("dx", "right", w)}${slider("dy", "down", h)}
      <button type="button" class="et-button" data-et="play"></button>
      <button type="button" class="et-button" data-et="fool">Next shift that fools the plain ViT</button>
      <button type="button" class="et-button" data-et="home">Back to the middle</button>
    </div>
    ${answer("plain", classes)}${answer("anchored", classes)}
    ${full(map("plain", [h, w], h * w) + `<div class="et-legend"><p class="et-note">Each cell is one
      shift; its color is the probability of the true class.</p><span class="et-ramp"></span>
      <p class="et-ends et-number"><span>0</span><span>1</span></p>
      <p class="et-note"><span class="et-number" data-et="seen"></span> seen. Click a cell to jump
      there.</p></div>` + map("anchored", [h, w], h * w))}
    </div>
    <p class="et-live" aria-live="polite" data-et="live"></p>
  </div>`;
}

function cividis(p) {
  const t = Math.min(Math.max(p, 0), 1) * (CIVIDIS.length - 1);
  const k = Math.min(Math.floor(t), CIVIDIS.length - 2);
  return CIVIDIS[k].map((v, c) => Math.round(v + (t - k) * (CIVIDIS[k + 1][c] - v)));
}

const phaseColor = (index, count) => `hsl(${(360 * index) / count} 85% 66%)`;

// Pixels in [0, 1], one canvas pixel each: gray or the first three channels.
function drawPixels(canvas, image, channels, [h, w]) {
  [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    for (let c = 0; c < 3; c++)
      pixels.data[4 * i + c] = 255 * image[(channels >= 3 ? c * h * w : 0) + i];
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

// The image enlarged, with the grid of patches and a dot on each pixel of one component.
function drawPicture(canvas, image, config, kind, dots) {
  const { channels, size: [h, w], patch: [ph, pw] } = config;
  const small = document.createElement("canvas");
  drawPixels(small, image, channels, [h, w]);
  const s = Math.max(6, Math.round(432 / w));
  [canvas.width, canvas.height] = [w * s, h * s];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, w * s, h * s);
  context.strokeStyle = GRID[kind];
  context.lineWidth = s / 8;
  context.beginPath();
  for (let i = 0; i <= h; i += ph) context.rect(0, i * s, w * s, 0);
  for (let j = 0; j <= w; j += pw) context.rect(j * s, 0, 0, h * s);
  context.stroke();
  if (!dots) return;
  context.fillStyle = dots.color;
  context.strokeStyle = "#000";
  context.lineWidth = s / 12;
  for (let i = dots.dy; i < h; i += ph) {
    for (let j = dots.dx; j < w; j += pw) {
      context.beginPath();
      context.arc((j + 0.5) * s, (i + 0.5) * s, s * 0.27, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }
}

function drawPhases(table, scores, best) {
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const digits = high < 10 ? 2 : high < 1000 ? 1 : 0;
  table.querySelectorAll("td").forEach((cell, i) => {
    const heat = high > low ? (scores[i] - low) / (high - low) : 0;
    cell.style.setProperty("--et-heat", `${Math.round(heat * 34)}%`);
    cell.classList.toggle("et-winner", i === best);
    cell.querySelector("i").style.background = phaseColor(i, scores.length);
    cell.querySelector("b").textContent = scores[i].toFixed(digits);
  });
}

function drawBars(box, probabilities, truth, classes) {
  [...box.children].forEach((bar, c) => {
    bar.querySelector(".et-fill").style.width = `${100 * probabilities[c]}%`;
    bar.querySelector(".et-number").textContent = `${(100 * probabilities[c]).toFixed(0)} %`;
    bar.classList.toggle("et-true", c === truth);
  });
  const top = probabilities.map((p, c) => [p, c]).sort((a, b) => b[0] - a[0]).slice(0, 2);
  const words = top.map(([p, c]) => `${classes[c]}: ${Math.round(100 * p)} %`);
  box.setAttribute("aria-label", `Class probabilities. ${words.join(", ")}`);
}

// Probabilities (NaN where unknown) over all shifts; the shift (0, 0) stands in the middle.
function drawMap(canvas, values) {
  const { width: w, height: h } = canvas;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(w, h);
  for (let dy = 0; dy < h; dy++) {
    for (let dx = 0; dx < w; dx++) {
      const value = values[dy * w + dx];
      if (Number.isNaN(value)) continue; // transparent: the page's hatching shows
      const row = (dy + Math.floor(h / 2)) % h;
      const at = 4 * (row * w + ((dx + Math.floor(w / 2)) % w));
      pixels.data.set([...cividis(value), 255], at);
    }
  }
  context.putImageData(pixels, 0, 0);
}
