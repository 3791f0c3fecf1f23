// The explorer of controlled rotation: a digit is generated in the page while it is turned.
// Concatenated behind diffusion-view.js, whose functions it uses; `makeAnswers` comes from
// dial-answers.js and runs in a worker.

const PROCESSES = [
  { name: "whole chain (the paper)", start: 0, end: 1 },
  { name: "first half only", start: 0, end: 0.5 },
  { name: "last half only", start: 0.5, end: 1 },
  { name: "rotate the finished image", start: 1, end: 1 },
];

function mount(root, data, onChange) {
  const { side: n, starts, images, times, names } = data;
  const pixels = n * n;
  const steps = times.length;
  const state = { network: 0, image: 0, process: 0, angle: data.angle, step: steps };
  const desk = employ(makeAnswers, data);
  let [busy, speaking] = [false, 0];

  const hand = (name, radius) =>
    `<line class="${name}" data-et="${name}" x1="60" y1="60" x2="60" y2="${60 - radius}"></line>`;
  root.innerHTML =
    '<div class="et-diff"><div class="et-bar">' +
    choice("network", "Network", names) +
    choice("process", "Turn during", PROCESSES.map((p) => p.name)) +
    "</div>" + thumbs(images, "Start noise") +
    '<div class="et-dial-stage"><div class="et-panel">' +
    '<svg class="et-dial" viewBox="-16 -8 152 136" tabindex="0" role="slider" data-et="dial" ' +
    'aria-label="asked angle in degrees" aria-valuemin="-180" aria-valuemax="180">' +
    '<circle class="et-ring" cx="60" cy="60" r="46"></circle>' +
    Array.from({ length: 12 }, (_, k) =>
      `<line class="et-tick" x1="60" y1="14" x2="60" y2="19" transform="rotate(${30 * k} 60 60)"></line>`)
      .join("") +
    [[60, 4, "0"], [-4, 63, "90"], [60, 124, "180"], [124, 63, "−90"]].map(([x, y, t]) =>
      `<text x="${x}" y="${y}">${t}</text>`).join("") +
    hand("et-realized", 26) + hand("et-asked", 42) +
    '<circle class="et-knob" data-et="knob" cx="60" cy="18" r="6"></circle></svg>' +
    slider("angle", "asked angle (°)", -180, 180, 5) +
    '<p class="et-ask">asked, dashed: <span class="et-number" data-et="asked"></span></p>' +
    '<p class="et-real">realized, solid: <span class="et-number" data-et="realized"></span></p>' +
    '<p>likeness: <span class="et-number" data-et="alike"></span></p>' +
    '</div><div><div class="et-panels et-dial-panels">' +
    panel("still", "without turning", "from the same noise") +
    panel("now", "on the way", '<span data-et="when"></span>') +
    panel("made", "finished", '<span data-et="how"></span>') +
    '</div><div class="et-sliders" style="grid-template-columns:minmax(0,1fr)">' +
    slider("step", "step of the chain", 0, steps, 1) +
    '</div></div></div><p class="et-live" aria-live="polite" data-et="live"></p></div>';
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const noise = () => starts.subarray(state.image * pixels, (state.image + 1) * pixels);

  function question() {
    const { network, image, process, angle } = state;
    const { start, end } = PROCESSES[process];
    const inside = times.map((_, k) => start <= (k + 0.5) / steps && (k + 0.5) / steps <= end);
    const count = inside.filter(Boolean).length;
    const turns = inside.map((one) => (one ? angle / count : 0));
    return { network, image, turns, after: count ? 0 : angle };
  }
  const answer = () => desk.known(question());

  function paintStep() {
    const trace = answer()?.trace;
    const x = state.step ? trace?.[state.step - 1] : noise();
    const done = state.step === steps; // finished images are shown on the scale of images
    if (x) drawMap(part("now"), x, n, done ? -1 : -2, done ? 1 : 2);
    part("step").value = state.step;
    write("step-text", `${String(state.step).padStart(2)} of ${steps}`);
    write("when", state.step === 0 ? "pure noise" : done ? "finished" : `after step ${state.step}`);
  }
  const place = (name, angle) => part(name).setAttribute("transform", `rotate(${-angle} 60 60)`);
  function paintAngle() {
    part("angle").value = state.angle;
    write("angle-text", signed(state.angle, 0));
    write("asked", `${signed(state.angle, 0)}°`);
    part("dial").setAttribute("aria-valuenow", state.angle);
    part("dial").setAttribute("aria-valuetext", `asked ${state.angle} degrees`);
    place("et-asked", state.angle);
    place("knob", state.angle);
  }
  // What the reader set, at once; what was generated, as soon as the chain has run.
  function paint() {
    part("network").value = state.network;
    part("process").value = state.process;
    root.querySelectorAll(".et-thumb").forEach((thumb, k) =>
      thumb.setAttribute("aria-pressed", String(k === state.image)));
    paintAngle();
    paintStep();
    const found = answer();
    root.setAttribute("aria-busy", String(!found));
    if (!found) return work();
    const { rest, trace, angle, alike } = found;
    drawMap(part("still"), rest, n, -1, 1);
    drawMap(part("made"), trace[steps - 1], n, -1, 1);
    place("et-realized", angle);
    write("realized", `${signed(angle, 0)}°`);
    write("alike", alike.toFixed(2));
    write("how", state.process < 3 ? "turned while it was made" : "turned when it was finished");
    clearTimeout(speaking);
    const words = `asked ${state.angle} degrees, realized ${angle}, likeness ${alike.toFixed(2)}`;
    speaking = setTimeout(() => write("live", words), 500);
  }
  async function work() {
    if (busy) return;
    busy = true;
    while (root.isConnected && !answer()) await desk.ask(question());
    busy = false;
    if (root.isConnected) paint();
  }
  function change(next) {
    Object.assign(state, next);
    if ("step" in next) paintStep();
    else paint();
    onChange({ ...state });
  }

  const wrap = (angle) => ((((angle + 180) % 360) + 360) % 360) - 180;
  const dial = part("dial");
  let dragging = false;
  const follow = (event) => {
    const box = dial.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    change({ angle: wrap(5 * Math.round((Math.atan2(-x, -y) * 180) / Math.PI / 5)) });
  };
  dial.addEventListener("pointerdown", (event) => {
    dial.setPointerCapture(event.pointerId);
    dragging = true;
    follow(event);
  });
  dial.addEventListener("pointermove", (event) => dragging && follow(event));
  for (const end of ["pointerup", "pointercancel"])
    dial.addEventListener(end, () => (dragging = false));
  dial.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 5, ArrowUp: 5, ArrowLeft: -5, ArrowDown: -5, PageUp: 30, PageDown: -30 };
    if (event.key === "Home" || event.key === "End") change({ angle: event.key === "Home" ? -180 : 180 });
    else if (event.key in step) change({ angle: wrap(state.angle + step[event.key]) });
    else return;
    event.preventDefault();
  });
  part("angle").addEventListener("input", (event) => change({ angle: Number(event.target.value) }));
  part("step").addEventListener("input", (event) => change({ step: Number(event.target.value) }));
  for (const name of ["network", "process"])
    part(name).addEventListener("change", (event) => change({ [name]: Number(event.target.value) }));
  root.querySelectorAll(".et-thumb").forEach((thumb, k) => {
    const canvas = thumb.querySelector("canvas");
    drawMap(canvas, starts.subarray(k * pixels, (k + 1) * pixels), n, -2, 2);
    canvas.style.cssText = "width:100%;height:100%;image-rendering:pixelated";
    thumb.addEventListener("click", () => change({ image: k }));
  });
  paint();

  return {
    get: () => ({ ...state }),
    set(next) {
      Object.assign(state, next);
      paint();
    },
    stop: desk.stop,
  };
}
