// The orbit explorer: one shape, one group, and every picture that the group makes of it.

const GROUPS = {
  C4: { name: "C4", what: "four quarter turns" },
  D4: { name: "D4", what: "quarter turns and mirrors" },
  shifts: { name: "shifts", what: "moves on a torus of 7 × 7 cells" },
  SO2: { name: "SO(2)", what: "all turns of the plane" },
  SO3: { name: "SO(3)", what: "all turns of space" },
};
const SIDE = 7; // cells of the torus
const QUARTERS = [[1, 0, 0, 1], [0, -1, 1, 0], [-1, 0, 0, -1], [0, 1, -1, 0]]; // counter-clockwise
const PACE = { C4: 900, D4: 900, shifts: 260, SO2: 70, SO3: 60 }; // ms a step
const TURN = 5; // degrees from one picture of SO(2) to the next
const LEGS = 10, LEG = 24; // the walk through SO(3): random places, steps between two of them

const times = (m, [x, y]) => [m[0] * x + m[1] * y, m[2] * x + m[3] * y];
const times3 = (m, v) => [0, 1, 2].map((i) => m[3 * i] * v[0] + m[3 * i + 1] * v[1] + m[3 * i + 2] * v[2]);
const key = (points) => points.map((p) => p.map((v) => Math.round(v * 2)).join()).sort().join(";");
const mod = (a, n) => ((a % n) + n) % n;

// Unit quaternions, real part first.
function matrixOf([w, x, y, z]) {
  return [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
}

function between(a, b, t) {
  let dot = a.reduce((s, v, i) => s + v * b[i], 0);
  const sign = dot < 0 ? -1 : 1;
  const angle = Math.acos(Math.min(1, sign * dot));
  if (angle < 1e-6) return a;
  const [p, q] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  return a.map((v, i) => p * v + sign * q * b[i]);
}

// A walk from the identity through evenly (Haar) drawn rotations and back; the same on each visit.
function walk() {
  let seed = 7;
  const uniform = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const stops = [[1, 0, 0, 0]];
  while (stops.length < LEGS) {
    const [u, v, w] = [uniform(), 2 * Math.PI * uniform(), 2 * Math.PI * uniform()];
    const [a, b] = [Math.sqrt(1 - u), Math.sqrt(u)];
    stops.push([b * Math.cos(w), a * Math.sin(v), a * Math.cos(v), b * Math.sin(w)]);
  }
  const path = [];
  for (let i = 0; i < LEGS; i++)
    for (let k = 0; k < LEG; k++)
      path.push(matrixOf(between(stops[i], stops[(i + 1) % LEGS], k / LEG)));
  return path;
}

// The 24 rotations that keep a cube: signed permutations with determinant 1.
function cubeRotations() {
  const found = [];
  for (const [p, even] of [["012", 1], ["120", 1], ["201", 1], ["021", -1], ["102", -1], ["210", -1]])
    for (let s = 0; s < 8; s++) {
      const signs = [0, 1, 2].map((i) => (s >> i & 1 ? -1 : 1));
      if (even * signs[0] * signs[1] * signs[2] < 0) continue;
      const m = Array(9).fill(0);
      [...p].forEach((j, i) => (m[3 * i + Number(j)] = signs[i]));
      found.push(m);
    }
  return found;
}

function elements(group) {
  if (group === "C4") return QUARTERS;
  if (group === "D4") return [...QUARTERS, ...QUARTERS.map((m) => [m[0], -m[1], m[2], -m[3]])];
  if (group === "shifts")
    return Array.from({ length: SIDE * SIDE }, (_, k) => [Math.floor(k / SIDE), k % SIDE]);
  if (group === "SO2")
    return Array.from({ length: 360 / TURN }, (_, k) => {
      const a = (k * TURN * Math.PI) / 180;
      return [Math.cos(a), -Math.sin(a), Math.sin(a), Math.cos(a)];
    });
  return walk();
}

function label(group, k) {
  if (group === "C4") return k ? `turn by ${90 * k}°` : "identity";
  if (group === "D4" && k > 3) return k > 4 ? `mirror top and bottom, then turn by ${90 * (k - 4)}°` : "mirror top and bottom";
  if (group === "D4") return k ? `turn by ${90 * k}°` : "identity";
  if (group === "shifts")
    return k ? `down by ${Math.floor(k / SIDE)}, right by ${k % SIDE}` : "identity";
  if (group === "SO2") return k ? `turn by ${TURN * k}°` : "identity";
  return k ? "a rotation about some axis in space" : "identity";
}

// ------------------------------------------------------------------------------------ pictures

const square = ([x, y], m) =>
  [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]
    .map(([u, v]) => times(m, [x + u, y + v])).map(([a, b]) => `${a.toFixed(3)},${(-b).toFixed(3)}`).join(" ");

const flat = (cells, m) =>
  cells.map((c) => `<polygon class="et-cell" points="${square(c, m)}"/>`).join("");

function torus(cells, [down, right], frame = true) {
  const half = (SIDE - 1) / 2;
  const at = (v) => mod(v + half, SIDE) - half;
  const lines = Array.from({ length: SIDE + 1 }, (_, k) => k - SIDE / 2)
    .map((v) => `<path d="M${v} ${-SIDE / 2}V${SIDE / 2}M${-SIDE / 2} ${v}H${SIDE / 2}"/>`).join("");
  const boxes = cells.map(([x, y]) => [at(Math.floor(x) + right), at(Math.floor(-y) + down)])
    .map(([x, y]) => `<rect class="et-cell" x="${x - 0.5}" y="${y - 0.5}" width="1" height="1"/>`);
  return (frame ? `<g class="et-lines">${lines}</g>` : "") + boxes.join("");
}

// A solid of cubes seen from the front and a little above, its far faces drawn first.
function solid(cells, m) {
  const taken = new Set(cells.map((c) => key([[...c, 0]])));
  const view = [1, 0, 0, 0, 0.94, -0.34, 0, 0.34, 0.94];
  const faces = [];
  for (const [x, y] of cells)
    for (let axis = 0; axis < 3; axis++)
      for (const side of [-0.5, 0.5]) {
        const normal = [0, 0, 0];
        normal[axis] = 2 * side;
        if (taken.has(key([[x + normal[0], y + normal[1], normal[2]]]))) continue;
        const seen = times3(view, times3(m, normal));
        if (seen[2] <= 0) continue;
        const [u, v] = [0, 1, 2].filter((i) => i !== axis);
        const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([p, q]) => {
          const c = [x, y, 0];
          c[axis] += side, c[u] += p / 2, c[v] += q / 2;
          return times3(view, times3(m, c));
        });
        const depth = corners.reduce((s, c) => s + c[2], 0);
        const light = Math.round(58 + 42 * Math.max(0, 0.3 * seen[0] + 0.55 * seen[1] + 0.75 * seen[2]));
        faces.push([depth, `<polygon class="et-face" style="--et-light:${Math.min(light, 100)}%" points="${corners
          .map((c) => `${c[0].toFixed(3)},${(-c[1]).toFixed(3)}`).join(" ")}"/>`]);
      }
  return faces.sort((a, b) => a[0] - b[0]).map((f) => f[1]).join("");
}

const picture = (group, cells, g) =>
  group === "shifts" ? torus(cells, g) : group === "SO3" ? solid(cells, g) : flat(cells, g);

// -------------------------------------------------------------------------------------- counts

// How many elements there are, how many pictures, and how many elements change nothing.
function counts(group, cells) {
  if (group === "SO2") {
    const same = QUARTERS.filter((m) => key(cells.map((c) => times(m, c))) === key(cells)).length;
    return { same };
  }
  if (group === "SO3") {
    const points = cells.map((c) => [...c, 0]);
    const same = cubeRotations().filter((m) => key(points.map((p) => times3(m, p))) === key(points));
    return { same: same.length };
  }
  const all = elements(group);
  const pictures = all.map((g) =>
    group === "shifts"
      ? key(cells.map(([x, y]) => [mod(Math.floor(x) + g[1], SIDE), mod(Math.floor(-y) + g[0], SIDE)]))
      : key(cells.map((c) => times(g, c))));
  return { n: all.length, distinct: new Set(pictures).size,
    same: pictures.filter((p) => p === pictures[0]).length, pictures };
}

function sentence(group, c) {
  const stay = c.same === 1 ? "only the identity leaves" : `${c.same} elements leave`;
  if (group === "SO2")
    return `Infinitely many pictures, on a closed curve. It comes round after ${360 / c.same}°; ${stay} the shape as it is.`;
  if (group === "SO3")
    return `Infinitely many pictures; ${stay} the shape as it is. Each dot is where the far end of the shape has been.`;
  return `${c.n} elements = ${c.distinct} different picture${c.distinct > 1 ? "s" : ""} × ${c.same}: ${stay} the shape as it is.`;
}

// ---------------------------------------------------------------------------------------- page

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
    part("label").textContent = label(state.group, k);
    part("main").setAttribute("aria-label", `${shapes[state.shape].name}: ${label(state.group, k)}`);
    root.querySelectorAll("[data-index]").forEach((b) => {
      b.classList.toggle("et-on", Number(b.dataset.index) === k);
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
  part("view").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) stop(), go(state.index + step);
    else if (event.key === "Home") stop(), go(0);
    else if (event.key === " " && !still) play();
    else return;
    event.preventDefault();
  });
  choose({});
  return { get: () => ({ ...state }), set: choose, stop };
}
