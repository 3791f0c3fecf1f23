// The explorer of sub-pixel shifts and angles: denoisers answer while the reader moves their input.
// Concatenated behind diffusion-view.js, whose functions it uses; `makeAnswers` comes from
// equivariance-answers.js and runs in a worker.

function mount(root, data, onChange) {
  const { side: n, images, times, names } = data;
  const pixels = n * n;
  const state = { network: 0, image: 0, level: 1, dy: 0.21, dx: 0.37, angle: 0 };
  const desk = employ(makeAnswers, data);
  let [busy, speaking] = [false, 0];

  root.innerHTML =
    '<div class="et-diff"><div class="et-bar">' +
    choice("network", "Network", names) +
    choice("level", "Noise", times.map((t) => `t = ${t}`)) +
    "</div>" + thumbs(images, "Digit") +
    '<div class="et-panels">' +
    panel("input", "g x", "noisy input, moved") +
    panel("first", "f(g x)", "move, then denoise") +
    panel("then", "g f(x)", "denoise, then move") +
    panel("gap", "difference", "blue and orange: −0.5 and +0.5") +
    '</div><div class="et-sliders">' +
    slider("dx", "shift to the right (px)", -8, 8, 0.01) +
    slider("dy", "shift down (px)", -8, 8, 0.01) +
    slider("angle", "angle (°)", -180, 180, 1) +
    '</div><div class="et-bar">' +
    ["(0.37, 0.21) pixels", "(4, −4) pixels", "30°", "90°", "nothing"].map((text, k) =>
      `<button type="button" class="et-button" data-et="preset-${k}">${text}</button>`).join("") +
    '</div><p class="et-head">How well each network follows this move (dB, longer is better; a full bar is 150)</p>' +
    '<div class="et-scale">' +
    names.map((name, k) => `<div class="et-row" data-et="row-${k}"><span>${name}</span>` +
      `<span class="et-track"><span class="et-fill" style="display:block"></span></span>` +
      `<span class="et-number" data-et="dB-${k}"></span></div>`).join("") +
    '</div><p class="et-note">' +
    "20 dB: off by a tenth of the range from black to white; 40 dB: by a hundredth; above 100 dB: " +
    "rounding. With an angle, only the disc is compared.</p>" +
    '<p class="et-live" aria-live="polite" data-et="live"></p></div>';
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);

  const question = (network) => ({ ...state, network });
  const answer = (network) => desk.known(question(network));

  // What the reader set, at once; what each network says of it, as soon as it has answered.
  function paint() {
    const k = state.network;
    for (const [name, digits] of [["dx", 2], ["dy", 2], ["angle", 0]]) {
      part(name).value = state[name];
      write(`${name}-text`, signed(state[name], digits));
    }
    part("network").value = k;
    part("level").value = state.level;
    root.querySelectorAll(".et-thumb").forEach((thumb, i) =>
      thumb.setAttribute("aria-pressed", String(i === state.image)));
    names.forEach((_, i) => {
      part(`row-${i}`).classList.toggle("et-mine", i === k);
      const dB = answer(i)?.dB;
      if (dB === undefined) return;
      write(`dB-${i}`, (dB > 300 ? "exact" : `${dB.toFixed(1)} dB`).padStart(9));
      part(`row-${i}`).querySelector(".et-fill").style.width = `${Math.min(100, Math.max(0, dB / 1.5))}%`;
    });
    root.setAttribute("aria-busy", String(names.some((_, i) => !answer(i))));
    work();
    const found = answer(k);
    if (!found) return;
    const { moved, first, then } = found;
    drawMap(part("input"), moved, n, -2, 2);
    drawMap(part("first"), first, n, -1, 1);
    drawMap(part("then"), then, n, -1, 1);
    drawMap(part("gap"), first.map((v, i) => v - then[i]), n, -0.5, 0.5, true);
    clearTimeout(speaking);
    speaking = setTimeout(() => write("live", `${names[k]}: ${part(`dB-${k}`).textContent}`), 500);
  }
  // The chosen network answers first.
  async function work() {
    if (busy) return;
    busy = true;
    const missing = () => [state.network, ...names.keys()].find((k) => !answer(k));
    for (let k; root.isConnected && (k = missing()) !== undefined; paint()) await desk.ask(question(k));
    busy = false;
  }
  function change(next) {
    Object.assign(state, next);
    paint();
    onChange({ ...state });
  }

  root.querySelectorAll(".et-thumb").forEach((thumb, k) => {
    drawMap(thumb.querySelector("canvas"), data.x.subarray(k * pixels, (k + 1) * pixels), n, -1, 1);
    thumb.querySelector("canvas").style.cssText = "width:100%;height:100%;image-rendering:pixelated";
    thumb.addEventListener("click", () => change({ image: k }));
  });
  for (const name of ["dx", "dy", "angle"])
    part(name).addEventListener("input", (event) => change({ [name]: Number(event.target.value) }));
  for (const name of ["network", "level"])
    part(name).addEventListener("change", (event) => change({ [name]: Number(event.target.value) }));
  [
    { dx: 0.37, dy: 0.21, angle: 0 }, { dx: 4, dy: -4, angle: 0 }, { dx: 0, dy: 0, angle: 30 },
    { dx: 0, dy: 0, angle: 90 }, { dx: 0, dy: 0, angle: 0 },
  ].forEach((preset, k) => part(`preset-${k}`).addEventListener("click", () => change(preset)));
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
