// Two networks fit a body while the reader turns and bends it. Behind articulated-body.js,
// articulated-drawing.js and articulated-view.js, whose functions it uses; `makeAnswers` comes from
// articulated-answers.js and runs in a worker.

const RIVALS = ["pointnet", "arteq"];
const STEP = 6; // degrees between two points of the curve
const COUNT = 360 / STEP;

function mount(root, data, onChange) {
  const { names, poseNames, bends, axes, group } = data;
  const elements = exactElements(group.elements);
  const order = elements.length / 9;
  const faces = whole(data.body.faces);
  const state = { pose: 0, axis: 0, angle: data.start, part: data.part, bends: bends.map(() => 0) };
  const desk = employ(makeAnswers, data);
  let [busy, onScreen, painting] = [false, true, 0];

  root.innerHTML = fitterMarkup(poseNames, axes, bends, names);
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const question = (angle) => ({ pose: state.pose, axis: state.axis, bends: [...state.bends], angle });
  const answer = (angle) => desk.known(question(angle));

  // What the reader set, at once; what the networks say of it, as soon as they have answered.
  function paint() {
    write("angle-text", `${Math.round(state.angle)}°`);
    part("angle").value = state.angle;
    bends.forEach((_, k) => {
      part(`bend-${k}`).value = state.bends[k];
      write(`bend-${k}-text`, `${Math.round(state.bends[k])}°`);
    });
    root.querySelectorAll(".et-pose").forEach((b, k) => b.setAttribute("aria-pressed", String(k === state.pose)));
    part("axis").value = state.axis;
    part("part").value = state.part;
    const found = answer(state.angle);
    root.setAttribute("aria-busy", String(!found));
    if (found) paintAnswer(found);
    paintCurve();
    work();
  }
  function paintAnswer(found) {
    for (const name of RIVALS) {
      const { error, gap, right, angles } = found[name];
      drawFit(part(`${name}-view`), found, found[name], faces, data.body.reach, data.colors);
      write(`${name}-error`, `${error.toFixed(1)}°`);
      write(`${name}-gap`, `${(100 * gap).toFixed(1)} cm`);
      write(`${name}-right`, `${(100 * right).toFixed(0)} %`);
      write(`${name}-part`, `${angles[state.part].toFixed(1)}°`);
    }
    const m = found.arteq.weights.subarray(order * state.part, order * (state.part + 1));
    drawBall(part("ball"), m, elements, nine(found.world, state.part), nine(found.arteq.rotations, state.part));
    write("live", `Turned by ${Math.round(state.angle)} degrees. PointNet is off by ` +
      `${found.pointnet.error.toFixed(0)} degrees, ArtEq by ${found.arteq.error.toFixed(0)}.`);
  }
  function paintCurve() {
    const all = Array.from({ length: COUNT }, (_, k) => answer(k * STEP));
    const curve = Object.fromEntries(RIVALS.map((name) => [name, all.map((found) => found?.[name].error)]));
    drawCurve(part("curve"), curve, state.angle, marks(), STEP);
    write("seen", `${all.filter(Boolean).length} of ${COUNT} turns computed`);
  }
  // Where this axis meets the group, in degrees.
  function marks() {
    const found = [0];
    for (let a = 0; a < order; a++) {
      const v = rotationVector(nine(elements, a));
      const n = Math.hypot(...v);
      const axis = axes[state.axis].vector;
      const cosine = v.reduce((sum, k, d) => sum + k * axis[d], 0) / (n * Math.hypot(...axis) || 1);
      if (n > 0.1 && Math.abs(Math.abs(cosine) - 1) < 1e-6)
        found.push((((Math.sign(cosine) * n * 180) / Math.PI) % 360 + 360) % 360);
    }
    return [...new Set(found.map((v) => Math.round(v)))].sort((a, b) => a - b);
  }

  // First what the reader waits for, then the curve, in an order that spreads over the circle (23
  // and 60 have no common factor).
  function missing() {
    if (!answer(state.angle)) return state.angle;
    const order = Array.from({ length: COUNT }, (_, k) => ((k * 23) % COUNT) * STEP);
    return onScreen ? order.find((angle) => !answer(angle)) : undefined;
  }
  async function work() {
    if (busy) return;
    busy = true;
    for (let angle; root.isConnected && (angle = missing()) !== undefined; ) {
      await desk.ask(question(angle));
      if (root.getAttribute("aria-busy") === "true" && answer(state.angle)) paint();
      else paintCurve();
    }
    busy = false;
  }

  function change(to) {
    Object.assign(state, to);
    state.angle = ((state.angle % 360) + 360) % 360;
    cancelAnimationFrame(painting);
    painting = requestAnimationFrame(paint);
    root.setAttribute("aria-busy", String(!answer(state.angle)));
    onChange({ ...state });
  }
  const turnTo = (angle) => change({ angle: Math.round(angle) });

  part("angle").addEventListener("input", (e) => turnTo(Number(e.target.value)));
  part("axis").addEventListener("change", (e) => change({ axis: Number(e.target.value) }));
  part("part").addEventListener("change", (e) => change({ part: Number(e.target.value) }));
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
    work();
  }).observe(root);
  followTheme(root, paint);
  paint();

  return {
    get: () => ({ ...state }),
    set: (next) => change(next),
    stop: desk.stop,
  };
}
