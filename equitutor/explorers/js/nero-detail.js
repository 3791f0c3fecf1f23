// The detail view of the NERO explorer: one input moved by one element, and the raw answers.

function makeDetail(holder, data, redraw) {
  const { picture, models, samples: N } = data;
  const [height, width] = picture.motion?.view ?? picture.size ?? [200, 200];
  const copies = picture.draw === "flow" ? models : [""];
  const count = data.classes.length;
  holder.innerHTML = `<div class="et-nero-sees">${copies.map((name, m) => `
    <div class="et-nero-see">${name && `<p class="et-nero-name et-nero-m${m}">${escaped(name)}</p>`}
    <div class="et-nero-layers" style="aspect-ratio:${width}/${height}"><canvas width="${width}"
      height="${height}" role="img"></canvas>${drawing([width, height], "")}</div></div>`).join("")}
    </div>${data.bars ? `<div class="et-nero-bars" role="img">${Array(count).fill(0).map((_, k) =>
      `<div class="et-nero-row"><span class="et-label">${escaped(data.classes[k])}</span>
      <span class="et-nero-tracks">${models.map((_, m) => `<span class="et-track"><span
      class="et-fill et-nero-m${m}"></span></span>`).join("")}</span>
      <span class="et-number"></span></div>`).join("")}</div>` : ""}`;
  const canvases = holder.querySelectorAll("canvas");
  const layers = holder.querySelectorAll(".et-nero-layers svg");
  const bars = data.bars?.map((text) => new Uint8Array(bufferOf(text)));
  const boxes = picture.boxes?.map((text) => new Int16Array(bufferOf(text)));
  const arrows = picture.arrows?.map((text) => new Int8Array(bufferOf(text)));
  const cloud = picture.points && new Int8Array(bufferOf(picture.points));

  let sheet = null;
  if (picture.sprite) {
    const image = new Image();
    image.onload = () => {
      sheet = image;
      redraw();
    };
    image.src = picture.sprite.uri;
  }

  function drawTile(context, k, x, y, w, h) {
    const { columns, tile: [th, tw] } = picture.sprite;
    context.drawImage(sheet, (k % columns) * tw, Math.floor(k / columns) * th, tw, th, x, y, w, h);
  }

  // On a canvas with one pixel for each of the image's, as the model gets it.
  function drawImage(canvas, g, n) {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!sheet) return;
    const { motion } = picture;
    if (!motion) return drawTile(context, g * N + n, 0, 0, width, height);
    const [H, W] = picture.size;
    if (motion.offsets) {
      const [dx, dy] = motion.offsets[g];
      for (const x of motion.wrap ? [dx, dx - W, dx + W] : [dx])
        for (const y of motion.wrap ? [dy, dy - H, dy + H] : [dy])
          drawTile(context, n, x, y, W, H);
      return;
    }
    // The matrix acts with up positive; rows of a canvas run down.
    const [a, b, c, d] = motion.matrices[g];
    context.fillStyle = `rgb(${Array(3).fill(255 * picture.outside)})`;
    context.fillRect(0, 0, W, H); // what a turn brings in from outside is zero
    context.setTransform(a, -c, -b, d, W / 2, H / 2);
    const frames = picture.frames;
    drawTile(context, picture.draw === "flow" ? n * frames + motion.swap[g] : n,
      -W / 2, -H / 2, W, H);
  }

  function boxPaths(g, n) {
    const at = 4 * (g * N + n);
    return boxes.map((values, m) => {
      const [x1, y1, x2, y2] = [...values.subarray(at, at + 4)].map((v) => v / 10);
      if ([x1, y1, x2, y2].includes(MISSING / 10)) return "";
      const d = `M${x1} ${y1}H${x2}V${y2}H${x1}Z`;
      return `<path class="et-nero-halo" d="${d}"/><path class="et-nero-box et-nero-m${m}"
        d="${d}"/>`;
    }).join("");
  }

  function arrowPath(m, g, n) {
    const s = picture.side;
    const at = 2 * s * s * (g * N + n);
    const [cw, ch] = [width / s, height / s];
    let d = "";
    for (let i = 0; i < s * s; i++) {
      const [u, v] = [arrows[m][at + i] / 127, arrows[m][at + s * s + i] / 127];
      const [dx, dy] = [u * cw, v * ch];
      const [x, y] = [((i % s) + 0.5) * cw + dx / 2, (Math.floor(i / s) + 0.5) * ch + dy / 2];
      d += `M${point([x - dx, y - dy])}L${point([x, y])}M${
        point([x - 0.35 * dx - 0.2 * dy, y - 0.35 * dy + 0.2 * dx])}L${point([x, y])}L${
        point([x - 0.35 * dx + 0.2 * dy, y - 0.35 * dy - 0.2 * dx])}`;
    }
    return `<path class="et-nero-halo" d="${d}"/><path class="et-nero-arrow et-nero-m${m}"
      d="${d}"/>`;
  }

  // x to the right, y up, z towards the reader, seen a little from above.
  function cloudDots(g, n) {
    const count = cloud.length / 3 / N;
    const R = picture.turns.subarray(9 * g, 9 * g + 9);
    const dots = [];
    for (let i = 0; i < count; i++) {
      const p = cloud.subarray(3 * (n * count + i), 3 * (n * count + i) + 3);
      const [x, y, z] = [0, 3, 6].map((r) =>
        (R[r] * p[0] + R[r + 1] * p[1] + R[r + 2] * p[2]) / 127);
      const [up, near] = [0.94 * y - 0.34 * z, 0.34 * y + 0.94 * z];
      const [left, top] = [100 + 88 * x + 18 * near, 100 - 88 * up];
      dots.push([near, `<circle cx="${left.toFixed(1)}" cy="${top.toFixed(1)}"
        r="${(2.6 + 1.2 * near).toFixed(2)}" opacity="${(0.6 + 0.35 * near).toFixed(2)}"/>`]);
    }
    dots.sort((a, b) => a[0] - b[0]);
    return `<g class="et-nero-cloud">${dots.map((dot) => dot[1]).join("")}</g>`;
  }

  function drawBars(g, n) {
    const box = holder.querySelector(".et-nero-bars");
    const truth = data.labels?.[n];
    const values = bars.map((all) => all.subarray((g * N + n) * count, (g * N + n + 1) * count));
    [...box.children].forEach((row, k) => {
      row.classList.toggle("et-true", k === truth);
      row.querySelectorAll(".et-fill").forEach((fill, m) =>
        (fill.style.width = `${(values[m][k] / 2.55).toFixed(1)}%`));
      row.querySelector(".et-number").textContent =
        values.map((v) => String(Math.round(v[k] / 2.55)).padStart(3)).join(" ");
    });
    box.setAttribute("aria-label", `Class probabilities. ${values.map((v, m) => {
      const best = v.indexOf(Math.max(...v));
      return `${models[m]}: ${data.classes[best]}, ${Math.round(v[best] / 2.55)} %`;
    }).join("; ")}`);
  }

  return {
    draw(g, n) {
      if (bars) drawBars(g, n);
      copies.forEach((_, m) => {
        canvases[m].setAttribute("aria-label",
          `Sample ${n + 1} moved by the element ${data.orbit.labels[g]}`);
        if (picture.sprite) drawImage(canvases[m], g, n);
        if (boxes) layers[m].innerHTML = boxPaths(g, n);
        if (arrows) layers[m].innerHTML = arrowPath(m, g, n);
        if (cloud) layers[m].innerHTML = cloudDots(g, n);
      });
    },
  };
}
