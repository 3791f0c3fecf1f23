// Parts that the two explorers of denoisers share: pictures, thumbs, sliders.

// An image (side x side, row by row) on a canvas; gray from low to high, or blue to white to orange.
export function drawMap(canvas, x, n, low, high, signed) {
  canvas.width = canvas.height = n;
  const pen = canvas.getContext("2d");
  const picture = pen.createImageData(n, n);
  for (let k = 0; k < n * n; k++) {
    const v = Math.min(1, Math.max(0, (x[k] - low) / (high - low)));
    const side = Math.abs(2 * v - 1);
    const end = v < 0.5 ? [0, 114, 178] : [213, 94, 0];
    for (let c = 0; c < 3; c++)
      picture.data[4 * k + c] = signed ? 255 + side * (end[c] - 255) : 255 * v;
    picture.data[4 * k + 3] = 255;
  }
  pen.putImageData(picture, 0, 0);
}

export const panel = (name, head, note) =>
  `<div class="et-panel"><p class="et-head">${head}</p>` +
  `<canvas class="et-picture" data-et="${name}" role="img" aria-label="${head}"></canvas>` +
  `<p class="et-note">${note}</p></div>`;

export const slider = (name, head, low, high, step) =>
  `<div class="et-slider"><label for="">${head}</label><span class="et-number" data-et="${name}-text">` +
  `</span><input type="range" data-et="${name}" aria-label="${head}" min="${low}" max="${high}" ` +
  `step="${step}"></div>`;

export const choice = (name, head, options) =>
  `<label>${head} <select data-et="${name}">` +
  options.map((text, k) => `<option value="${k}">${text}</option>`).join("") +
  "</select></label>";

export const thumbs = (count, word) =>
  `<div class="et-bar" role="group" aria-label="${word}s">` +
  Array.from({ length: count }, (_, k) =>
    `<button type="button" class="et-thumb" aria-label="${word} ${k + 1}"><canvas></canvas></button>`)
    .join("") + "</div>";

export const signed = (v, digits) =>
  `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(digits)}`;
