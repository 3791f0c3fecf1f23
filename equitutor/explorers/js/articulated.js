// Two networks fit a body while the reader turns and bends it. Behind articulated-points.js, -layers,
// articulated-nn.js, articulated-body.js and articulated-view.js, whose functions it uses.

const RIVALS = ["pointnet", "arteq"];
const STEP = 6; // degrees between two points of the curve
const COUNT = 360 / STEP;

// Float16 numbers, packed as base64, as doubles.
function half(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Uint16Array(bytes.buffer), (b) => {
    const [sign, e, m] = [b >> 15 ? -1 : 1, (b >> 10) & 31, b & 1023];
    return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : (m / 1024) * 2 ** -14);
  });
}
const whole = (text) => new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

// Elements to full precision: icosahedral entries are known, and float32 would show in the curve.
function exactElements(elements) {
  const golden = (1 + Math.sqrt(5)) / 2;
  const known = [0, 0.5, 1, golden / 2, 1 / (2 * golden)];
  return Float64Array.from(elements, (v) => {
    const near = known.find((k) => Math.abs(Math.abs(v) - k) < 1e-5);
    return near === undefined ? v : Math.sign(v) * near;
  });
}

function prepare(data) {
  const { group, body } = data;
  const nets = {};
  for (const name of RIVALS) {
    const packed = data[name];
    const weights = {};
    for (const key of Object.keys(packed.weights)) weights[key] = half(packed.weights[key]);
    nets[name] = { config: packed.config, weights };
  }
  const elements = exactElements(group.elements);
  return {
    nets,
    group: { ...group, elements, order: elements.length / 9 },
    body: { ...body, faces: whole(body.faces), corners: whole(body.corners), owners: whole(body.owners) },
  };
}

// What a network says of a cloud, and how far it is from the truth.
function judge(name, nets, group, points, labels, world, parts) {
  const found = name === "arteq" ? arteqForward(nets.arteq, group, points) : pointnetForward(nets.pointnet, points);
  const rotations = new Float64Array(found.matrices.length);
  const angles = [];
  for (let p = 0; p < parts; p++) {
    rotations.set(projectSO3(nine(found.matrices, p)), 9 * p);
    angles.push((angleBetween(nine(world, p), nine(rotations, p)) * 180) / Math.PI);
  }
  const right = found.labels.reduce((sum, q, i) => sum + (q === labels[i]), 0) / labels.length;
  return { ...found, rotations, angles, right, error: angles.reduce((a, b) => a + b, 0) / parts };
}

function mount(root, data, onChange) {
  const { nets, group, body } = prepare(data);
  const { names, parents, poses, poseNames, bends, axes } = data;
  const parts = names.length;
  const state = { pose: 0, axis: 0, angle: data.start, part: data.part, bends: bends.map(() => 0) };
  let [painting, filling, onScreen, next] = [false, false, true, 0];
  let curve = {};

  root.innerHTML = fitterMarkup(poseNames, axes, bends, names);
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const bent = () => bends.map((b, k) => ({ ...b, angle: (state.bends[k] * Math.PI) / 180 }));

  // The true body and its scan, turned by an angle in degrees about the chosen axis.
  function scene(angle) {
    const turn = rotationAbout(axes[state.axis].vector, (angle * Math.PI) / 180);
    const pose = poses.subarray(9 * parts * state.pose, 9 * parts * (state.pose + 1));
    const world = worldRotations(body, pose, bent(), turn);
    const vertices = skinned(body, world);
    return { world, vertices, points: surfacePoints(vertices, body.corners, body.mix) };
  }
  // The predicted body where the points are: their mean, less that of the same points on it.
  function placed(guess, points) {
    const own = surfacePoints(guess, body.corners, body.mix);
    const move = [0, 0, 0];
    for (let i = 0; i < own.length; i++) move[i % 3] += (points[i] - own[i]) / (own.length / 3);
    return guess.map((v, i) => v + move[i % 3]);
  }
  const answer = (name, s) => judge(name, nets, group, s.points, data.labels, s.world, parts);

  function paint() {
    painting = false;
    const s = scene(state.angle);
    const found = Object.fromEntries(RIVALS.map((name) => [name, answer(name, s)]));
    for (const name of RIVALS) {
      const { rotations, labels, right, error, angles } = found[name];
      const guess = placed(skinned(body, rotations), s.points);
      const gap = drawFit(part(`${name}-view`), s, guess, body, labels, data.colors);
      write(`${name}-error`, `${error.toFixed(1)}°`);
      write(`${name}-gap`, `${(100 * gap).toFixed(1)} cm`);
      write(`${name}-right`, `${(100 * right).toFixed(0)} %`);
      write(`${name}-part`, `${angles[state.part].toFixed(1)}°`);
      record(name, state.angle, error);
    }
    const m = found.arteq.weights.subarray(group.order * state.part, group.order * (state.part + 1));
    drawBall(part("ball"), m, group.elements, nine(s.world, state.part), nine(found.arteq.rotations, state.part));
    write("angle-text", `${Math.round(state.angle)}°`);
    part("angle").value = state.angle;
    bends.forEach((_, k) => {
      part(`bend-${k}`).value = state.bends[k];
      write(`bend-${k}-text`, `${Math.round(state.bends[k])}°`);
    });
    root.querySelectorAll(".et-pose").forEach((b, k) => b.setAttribute("aria-pressed", String(k === state.pose)));
    part("axis").value = state.axis;
    part("part").value = state.part;
    write("live", `Turned by ${Math.round(state.angle)} degrees. PointNet is off by ` +
      `${found.pointnet.error.toFixed(0)} degrees, ArtEq by ${found.arteq.error.toFixed(0)}.`);
    paintCurve();
  }
  function record(name, angle, error) {
    if (angle % STEP === 0) (curve[name] ??= {})[Math.round(angle / STEP) % COUNT] = error;
  }
  function paintCurve() {
    drawCurve(part("curve"), curve, state.angle, marks(), STEP);
    const seen = Object.keys(curve.arteq ?? {}).length;
    write("seen", `${seen} of ${COUNT} turns computed`);
    fill();
  }
  // Where this axis meets the group, in degrees.
  function marks() {
    const found = [0];
    for (let a = 0; a < group.order; a++) {
      const v = rotationVector(nine(group.elements, a));
      const n = Math.hypot(...v);
      const axis = axes[state.axis].vector;
      const cosine = v.reduce((sum, k, d) => sum + k * axis[d], 0) / (n * Math.hypot(...axis) || 1);
      if (n > 0.1 && Math.abs(Math.abs(cosine) - 1) < 1e-6)
        found.push((((Math.sign(cosine) * n * 180) / Math.PI) % 360 + 360) % 360);
    }
    return [...new Set(found.map((v) => Math.round(v)))].sort((a, b) => a - b);
  }
  // The curve grows while nobody needs the processor, one angle at a time.
  function fill() {
    if (filling || !onScreen || next >= COUNT) return;
    filling = true;
    (window.requestIdleCallback ?? setTimeout)(() => {
      filling = false;
      if (!root.isConnected) return;
      const angle = ((next++ * 23) % COUNT) * STEP; // 23 and 60 have no common factor
      const s = scene(angle);
      for (const name of RIVALS)
        if (curve[name]?.[angle / STEP] === undefined) record(name, angle, answer(name, s).error);
      paintCurve();
    });
  }

  function change(to, keep = false) {
    Object.assign(state, to);
    state.angle = ((state.angle % 360) + 360) % 360;
    if (!keep) [curve, next] = [{}, 0];
    if (!painting) requestAnimationFrame(paint);
    painting = true;
    onChange({ ...state });
  }
  const turnTo = (angle) => change({ angle: Math.round(angle) }, true);

  part("angle").addEventListener("input", (e) => turnTo(Number(e.target.value)));
  part("axis").addEventListener("change", (e) => change({ axis: Number(e.target.value) }));
  part("part").addEventListener("change", (e) => change({ part: Number(e.target.value) }, true));
  bends.forEach((_, k) =>
    part(`bend-${k}`).addEventListener("input", (e) =>
      change({ bends: state.bends.map((v, i) => (i === k ? Number(e.target.value) : v)) })));
  root.querySelectorAll(".et-pose").forEach((button, k) =>
    button.addEventListener("click", () => change({ pose: k })));
  part("snap").addEventListener("click", () => {
    const all = marks();
    turnTo(all.find((v) => v > state.angle + 0.5) ?? all[0]);
  });
  part("home").addEventListener("click", () => change({ angle: 0, bends: bends.map(() => 0) }));
  for (const name of RIVALS) {
    const stage = part(`${name}-stage`);
    stage.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 }[event.key];
      if (by) turnTo(state.angle + by * (event.shiftKey ? 36 : STEP));
      else if (event.key === "Home") turnTo(0);
      else return;
      event.preventDefault();
    });
    let from = null;
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      from = { x: event.clientX, angle: state.angle };
    });
    stage.addEventListener("pointermove", (event) => from && turnTo(from.angle + (event.clientX - from.x) * 0.7));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (from = null));
  }
  part("curve").addEventListener("click", (event) => {
    const box = part("curve").getBoundingClientRect();
    turnTo(curveAngle((event.clientX - box.left) / box.width));
  });
  new IntersectionObserver(([entry]) => {
    onScreen = entry.isIntersecting;
    fill();
  }).observe(root);
  followTheme(root, paint);
  paint();

  return {
    get: () => ({ ...state }),
    set: (next) => change(next),
    stop: () => (onScreen = false),
  };
}
