// The orbit explorer: one shape, one group, and every picture that the group makes of it.
// Concatenated behind orbit-pictures.js, whose functions it uses.

const PACE = { C4: 900, D4: 900, shifts: 260, SO2: 70, SO3: 60 }; // ms a step

function mount(root, data, onChange) {
  const shapes = data.shapes.map(({ name, cells }) => ({ name, cells }));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const state = { group: "D4", shape: 0, index: 0 };
  let [timer, frame, all, count, seen] = [0, 0, [], {}, new Set([0])];

  const choice = (kind, value, text, title) =>
    `<button type="button" class="et-choice" data-et="${kind}" data-value="${value}" title="${title}">${text}</button>`;
  const thumb = (cells) => `<svg viewBox="-3 -3 6 6" aria-hidden="true">${flat(cells, QUARTERS[0])}</svg>`;
  root.innerHTML = `<div class="et-orbits">
    <div class="et-row" role="group" aria-label="Choose a group">${Object.entries(GROUPS)
      .map(([k, g]) => choice("group", k, g.name, g.what)).join("")}</div>
    <div class="et-row et-shapes" role="group" aria-label="Choose a shape">${shapes
      .map((s, k) => choice("shape", k, thumb(s.cells), s.name)).join("")}</div>
    <div class="et-two">
      <div class="et-view" tabindex="0" data-et="view" role="group" aria-label="The shape. Arrow keys step through the orbit, space plays.">
        <svg data-et="main" viewBox="-3.9 -3.9 7.8 7.8" role="img"></svg></div>
      <div data-et="side" class="et-side"></div>
    </div>
    <p class="et-now"><span data-et="where"></span> <strong data-et="label"></strong></p>
    <label class="et-slide"><span class="et-note">element</span>
      <input type="range" min="0" step="1" value="0" data-et="slider" aria-label="Element of the group"></label>
    <div class="et-row">
      <button type="button" class="et-button" data-et="back">◀ Back</button>
      <button type="button" class="et-button" data-et="play" ${still ? "hidden" : ""}>Play</button>
      <button type="button" class="et-button" data-et="next">Step ▶</button>
      <button type="button" class="et-button" data-et="home">To the identity</button>
    </div>
    <p class="et-note" data-et="count" aria-live="polite"></p>
  </div>`;
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const cells = () => shapes[state.shape].cells;

  function side() {
    const box = part("side");
    if (state.group === "C4" || state.group === "D4") {
      const first = count.pictures.map((p) => count.pictures.indexOf(p));
      box.innerHTML = `<div class="et-tiles">${all.map((g, k) =>
        `<button type="button" class="et-tile" data-index="${k}" aria-label="${label(state.group, k)}">
        <svg viewBox="-3 -3 6 6" aria-hidden="true">${flat(cells(), g)}</svg>
        <span>${first[k] === k ? "" : `same as ${first[k] + 1}`}</span></button>`).join("")}</div>`;
    } else if (state.group === "shifts") {
      box.innerHTML = `<div class="et-map" style="--et-n:${SIDE}">${all.map((_, k) =>
        `<button type="button" class="et-spot" data-index="${k}" aria-label="${label("shifts", k)}"></button>`).join("")}</div>
        <p class="et-note">Every cell is one shift. Filled: seen.</p>`;
    } else {
      box.innerHTML = `<svg class="et-dial" viewBox="-1.35 -1.35 2.7 2.7" role="img"></svg>
        <p class="et-note">${state.group === "SO2" ? "The group is a circle: one angle. Click it to jump." : "Where the far end of the shape has been on its sphere. Solid: in front."}</p>`;
    }
  }

  function dial() {
    const svg = root.querySelector(".et-dial");
    if (!svg) return;
    const far = cells().reduce((a, b) => (Math.hypot(...b) > Math.hypot(...a) ? b : a));
    if (state.group === "SO2") {
      const dots = all.map((g, k) => `<circle class="${seen.has(k) ? "et-seen" : "et-free"}" cx="${g[0].toFixed(3)}" cy="${(-g[2]).toFixed(3)}" r=".035"/>`);
      const [c, , s] = all[state.index];
      svg.innerHTML = `${dots.join("")}<path class="et-hand" d="M0 0L${c} ${-s}"/>`;
    } else {
      const size = Math.hypot(...far);
      const dots = [...seen].map((k) => [k, times3(all[k], [far[0] / size, far[1] / size, 0])])
        .map(([k, p]) => `<circle class="et-seen ${p[2] < 0 ? "et-behind" : ""} ${k === state.index ? "et-here" : ""}" cx="${p[0].toFixed(3)}" cy="${(-p[1]).toFixed(3)}" r="${k === state.index ? 0.08 : 0.03}"/>`);
      svg.innerHTML = `<circle class="et-ball" r="1"/>${dots.join("")}`;
    }
    svg.setAttribute("aria-label", `${seen.size} elements seen`);
  }

  function draw(g) {
    part("main").innerHTML = picture(state.group, cells(), g);
  }

  function paint(from) {
    const k = state.index;
    seen.add(k);
    part("slider").value = k;
    part("where").textContent = state.group === "SO3" ? `Step ${k + 1} of ${all.length} of a walk:` : `Element ${k + 1} of ${state.group === "SO2" ? `the ${all.length} drawn` : all.length}:`;
    const words = label(state.group, k, all[k]);
    part("label").textContent = words;
    part("main").setAttribute("aria-label", `${shapes[state.shape].name}: ${words}`);
    root.querySelectorAll("[data-index]").forEach((b) => {
      b.classList.toggle("et-on", Number(b.dataset.index) === k);
      b.tabIndex = Number(b.dataset.index) === k ? 0 : -1; // one tab stop for all elements
      b.classList.toggle("et-seen", seen.has(Number(b.dataset.index)));
    });
    dial();
    cancelAnimationFrame(frame);
    const smooth = from && !still && (state.group === "C4" || state.group === "D4");
    if (!smooth) return draw(all[k]);
    const start = performance.now();
    const tween = (now) => {
      const t = Math.min(1, (now - start) / 350);
      const s = t * t * (3 - 2 * t);
      draw(all[k].map((v, i) => (1 - s) * from[i] + s * v));
      if (t < 1) frame = requestAnimationFrame(tween);
    };
    frame = requestAnimationFrame(tween);
  }

  function go(index) {
    const from = all[state.index];
    state.index = mod(index, all.length);
    paint(from);
    onChange({ ...state });
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    part("play").textContent = "Play";
    part("play").setAttribute("aria-pressed", "false");
  }

  function play() {
    if (timer) return stop();
    part("play").textContent = "Pause";
    part("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => (root.isConnected ? go(state.index + 1) : stop()), PACE[state.group]);
  }

  function choose(changes) {
    if (changes.group && !GROUPS[changes.group]) throw RangeError(`no group ${changes.group}`);
    stop();
    Object.assign(state, { index: 0 }, changes);
    state.shape = Math.min(state.shape, shapes.length - 1);
    all = elements(state.group);
    state.index = mod(state.index, all.length);
    seen = new Set();
    count = counts(state.group, cells());
    part("slider").max = all.length - 1;
    part("count").textContent = sentence(state.group, count);
    root.querySelectorAll(".et-choice").forEach((b) =>
      b.setAttribute("aria-pressed", String(String(state[b.dataset.et]) === b.dataset.value)));
    side();
    paint();
  }

  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.target.closest(".et-dial") && state.group === "SO2") {
      const box = root.querySelector(".et-dial").getBoundingClientRect();
      const a = Math.atan2(box.top + box.height / 2 - event.clientY, event.clientX - box.left - box.width / 2);
      stop();
      return go(Math.round((a * 180) / Math.PI / TURN));
    }
    if (!button) return;
    const { et, value, index } = button.dataset;
    if (et === "group" || et === "shape") {
      choose({ [et]: et === "shape" ? Number(value) : value });
      return onChange({ ...state });
    }
    if (et === "play") return play();
    stop();
    if (index !== undefined) go(Number(index));
    if (et === "back") go(state.index - 1);
    if (et === "next") go(state.index + 1);
    if (et === "home") go(0);
  });
  part("slider").addEventListener("input", (event) => (stop(), go(Number(event.target.value))));
  root.addEventListener("keydown", (event) => {
    const cell = event.target.closest("[data-index]");
    if (!cell && event.target !== part("view")) return;
    const row = cell ? (state.group === "shifts" ? SIDE : 4) : 1; // up and down in a grid of elements
    const step = { ArrowRight: 1, ArrowDown: row, ArrowLeft: -1, ArrowUp: -row }[event.key];
    if (step) stop(), go(state.index + step);
    else if (event.key === "Home") stop(), go(0);
    else if (event.key === " " && !still && !cell) play();
    else return;
    event.preventDefault();
    if (cell) root.querySelector(`[data-index="${state.index}"]`).focus();
  });
  choose({});
  return { get: () => ({ ...state }), set: choose, stop };
}
