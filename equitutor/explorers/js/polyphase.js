// The polyphase explorer: two small networks answer while the reader moves an image.
// Concatenated behind nn.js and polyphase-view.js, whose functions it uses.

const NAMES = ["plain", "anchored"];
const modulo = (a, n) => ((a % n) + n) % n;
const centered = (a, n) => modulo(a + Math.floor(n / 2), n) - Math.floor(n / 2);
const plus = (v) => `${v < 0 ? "−" : "+"}${String(Math.abs(v)).padEnd(2)}`;
const small = (v) => (v === 0 ? "0" : v < 0.01 ? v.toExponential(0) : v.toFixed(2));

// Everything the two networks say about one image under every shift, computed when asked for.
function makeAnswers(networks, image, truth, count) {
  const config = networks.anchored.config;
  const w = config.size[1];
  const logits = (name, dy, dx) => {
    const { weights, config: own } = networks[name];
    return vitForward(weights, own, roll(image, config.channels, config.size, dy, dx));
  };
  const records = {};
  for (const name of NAMES) {
    const rest = logits(name, 0, 0);
    records[name] = { rest, truth: new Float32Array(count).fill(NaN), right: 0, worst: 0 };
  }
  let seen = 0;
  const known = new Array(count);
  function at(shift) {
    if (known[shift]) return known[shift];
    known[shift] = {};
    seen++;
    for (const name of NAMES) {
      const y = logits(name, Math.floor(shift / w), shift % w);
      const record = records[name];
      const moved = Math.max(...y.map((v, c) => Math.abs(v - record.rest[c])));
      const probabilities = softmax(y);
      const best = argmax(y);
      record.truth[shift] = probabilities[truth];
      record.right += best === truth;
      record.worst = Math.max(record.worst, moved);
      known[shift][name] = { best, moved, probabilities };
    }
    return known[shift];
  }
  // A stride near the golden section spreads what is already seen evenly over the torus.
  let stride = Math.round(count * 0.618);
  const common = (a, b) => (b ? common(b, a % b) : a);
  while (common(stride, count) > 1) stride++;
  let next = 0;
  return {
    at,
    records,
    seen: () => seen,
    done: () => seen === count,
    step() {
      for (let shift = -1; shift < 0 && next < count; next++) {
        const candidate = (next * stride) % count;
        if (!known[candidate]) at((shift = candidate));
      }
    },
  };
}

function mount(root, data, onChange) {
  const { x, y, classes, compact } = data;
  const networks = { plain: data.plain, anchored: data.anchored };
  const config = networks.anchored.config;
  const { channels, size: [h, w], patch: [ph, pw] } = config;
  const count = h * w;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const images = y.map((_, k) => x.subarray(k * channels * count, (k + 1) * channels * count));
  const answers = new Array(images.length);
  const state = { image: 0, dy: modulo(data.start[0], h), dx: modulo(data.start[1], w) };
  let [playing, searching, onScreen, filling, speaking] = [0, 0, true, false, 0];

  root.innerHTML = markup(config, classes, images.length, compact);
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const current = () =>
    (answers[state.image] ??= makeAnswers(networks, images[state.image], y[state.image], count));

  function paint() {
    const { dy, dx } = state;
    const image = roll(images[state.image], channels, [h, w], dy, dx);
    const anchored = anchorImage(image, config);
    const index = anchored.dy * pw + anchored.dx;
    const color = phaseColor(index, ph * pw);
    const dots = compact ? null : { dy: anchored.dy, dx: anchored.dx, color };
    drawPicture(part("shifted"), image, config, "plain", dots);
    for (const [name, value, n] of [["dy", dy, h], ["dx", dx, w]]) {
      part(name).value = centered(value, n);
      write(`${name}-text`, plus(centered(value, n)));
      write(`where-${name}`, plus(centered(value, n)));
    }
    root.querySelectorAll(".et-thumb").forEach((thumb, k) =>
      thumb.setAttribute("aria-pressed", String(k === state.image)));
    if (!compact) {
      drawPicture(part("anchored"), anchored.image, config, "anchored", { dy: 0, dx: 0, color });
      drawPhases(part("phases"), anchored.scores, index);
      write("winner", `row ${anchored.dy}, column ${anchored.dx}`);
      const rest = anchorImage(images[state.image], config);
      write("patches-dy", plus(centered(rest.dy + dy - anchored.dy, h) / ph));
      write("patches-dx", plus(centered(rest.dx + dx - anchored.dx, w) / pw));
    }
    paintAnswers();
    paintMaps();
  }

  function paintAnswers() {
    const truth = y[state.image];
    const found = current().at(state.dy * w + state.dx);
    const spoken = NAMES.map((name) => {
      const { best, moved, probabilities } = found[name];
      const rest = argmax(current().records[name].rest);
      const words = best === rest ? "unchanged" : `${classes[rest]} → ${classes[best]}, changed`;
      const box = part(`${name}-answer`);
      box.classList.toggle("et-wrong", best !== truth);
      write(`${name}-class`, classes[best]);
      write(`${name}-verdict`, `${best === truth ? "✓ right" : "✗ wrong"}, ${words}`);
      write(`${name}-moved`, small(moved));
      drawBars(part(`${name}-bars`), probabilities, truth, classes);
      return best === rest
        ? `${name}: ${classes[best]}, logits moved by ${small(moved)}`
        : `${name}: ${words}`;
    });
    clearTimeout(speaking); // one sentence when the reader has stopped, not one for each pixel
    speaking = setTimeout(() => write("live", `${spoken.join("; ")}.`), 500);
  }

  function paintMaps() {
    if (compact) return;
    const seen = current().seen();
    write("seen", `${String(seen).padStart(String(count).length)} of ${count}`);
    for (const name of NAMES) {
      const { truth, right, worst } = current().records[name];
      drawMap(part(`${name}-map`).querySelector("canvas"), truth);
      const marker = part(`${name}-map`).querySelector(".et-marker");
      marker.style.left = `${(100 * (modulo(state.dx + Math.floor(w / 2), w) + 0.5)) / w}%`;
      marker.style.top = `${(100 * (modulo(state.dy + Math.floor(h / 2), h) + 0.5)) / h}%`;
      write(`${name}-share`, `${((100 * right) / seen).toFixed(1)} %`);
      write(`${name}-worst`, small(worst));
    }
    fill();
  }

  // The maps grow while nobody needs the processor, some milliseconds at a time.
  function fill() {
    if (filling || !onScreen || current().done()) return;
    filling = true;
    pause().then(() => {
      filling = false;
      const end = performance.now() + 8;
      do current().step(); while (performance.now() < end && !current().done());
      paintMaps();
    });
  }
  const pause = () => new Promise((resume) => (window.requestIdleCallback ?? setTimeout)(resume));

  function move(dy, dx) {
    Object.assign(state, { dy: modulo(dy, h), dx: modulo(dx, w) });
    part("hint").hidden = true;
    paint();
    onChange({ ...state, dy: centered(state.dy, h), dx: centered(state.dx, w) });
  }
  function moveByHand(dy, dx) {
    play(false);
    searching++; // a search under way is void
    move(dy, dx);
  }

  // The walk: down the diagonal; each time around, one column further on.
  const walk = (dy, dx) => {
    const k = (modulo(dx - dy, w) * h + dy + 1) % count;
    return [k % h, ((k % h) + Math.floor(k / h)) % w];
  };
  function play(on) {
    clearInterval(playing);
    playing = 0;
    if (on && !still) {
      playing = setInterval(() => {
        if (!root.isConnected) play(false);
        else if (!document.hidden) move(...walk(state.dy, state.dx));
      }, 280);
    }
    write("play", still ? "▸ One step" : playing ? "❚❚ Pause" : "▶ Play");
  }
  async function fool() {
    play(false);
    const mine = ++searching;
    let [dy, dx] = [state.dy, state.dx];
    let end = performance.now() + 8;
    for (let tries = 0; tries < count; tries++) {
      [dy, dx] = walk(dy, dx);
      if (current().at(dy * w + dx).plain.best !== y[state.image]) return move(dy, dx);
      if (performance.now() < end) continue;
      await pause();
      if (mine !== searching) return undefined;
      end = performance.now() + 8;
    }
    return write("plain-verdict", "✓ right at every shift");
  }

  function wireArrows(element) {
    element.addEventListener("keydown", (event) => {
      const [down, right] = event.shiftKey ? [ph, pw] : [1, 1];
      const step = {
        ArrowUp: [-down, 0], ArrowDown: [down, 0], ArrowLeft: [0, -right], ArrowRight: [0, right],
      }[event.key];
      if (step) moveByHand(state.dy + step[0], state.dx + step[1]);
      else if (event.key === "Home") moveByHand(0, 0);
      else return;
      event.preventDefault();
    });
  }
  // Calls `follow(rows, columns, origin)` in image pixels while a pointer is down on the element.
  function wirePointer(element, follow) {
    let origin = null;
    const tell = (event) => {
      const box = element.getBoundingClientRect();
      const row = ((event.clientY - box.top) / box.height) * h;
      const column = ((event.clientX - box.left) / box.width) * w;
      origin ??= { row, column, dy: state.dy, dx: state.dx };
      follow(row, column, origin);
    };
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      tell(event);
    });
    element.addEventListener("pointermove", (event) => origin && tell(event));
    for (const end of ["pointerup", "pointercancel"])
      element.addEventListener(end, () => (origin = null));
  }

  root.querySelectorAll(".et-thumb").forEach((thumb, k) => {
    drawPixels(thumb.querySelector("canvas"), images[k], channels, [h, w]);
    thumb.setAttribute("aria-label", `Image ${k + 1}: ${classes[y[k]]}`);
    thumb.addEventListener("click", () => {
      state.image = k;
      moveByHand(state.dy, state.dx);
    });
  });
  for (const name of ["dy", "dx"])
    part(name).addEventListener("input", (event) => {
      const to = { ...state, [name]: Number(event.target.value) };
      moveByHand(to.dy, to.dx);
    });
  part("play").addEventListener("click", () => {
    if (still) moveByHand(...walk(state.dy, state.dx));
    else play(!playing);
  });
  part("fool").addEventListener("click", fool);
  part("home").addEventListener("click", () => moveByHand(0, 0));
  wireArrows(part("drag"));
  wirePointer(part("drag"), (row, column, origin) =>
    moveByHand(origin.dy + Math.round(row - origin.row),
      origin.dx + Math.round(column - origin.column)));
  if (!compact) {
    for (const name of NAMES) {
      wireArrows(part(`${name}-map`));
      wirePointer(part(`${name}-map`), (row, column) =>
        moveByHand(Math.floor(row) - Math.floor(h / 2), Math.floor(column) - Math.floor(w / 2)));
    }
    new IntersectionObserver(([entry]) => {
      onScreen = entry.isIntersecting;
      fill();
    }).observe(root);
  }
  play(false);
  paint();

  return {
    get: () => ({ ...state }),
    set(next) {
      Object.assign(state, next);
      state.image = modulo(state.image, images.length);
      Object.assign(state, { dy: modulo(state.dy, h), dx: modulo(state.dx, w) });
      paint();
    },
    stop: () => play(false),
  };
}
