// The NERO explorer: the set, a map of its samples, one sample, one input; four linked views.
// Concatenated behind nero-data.js, nero-layouts.js, nero-plots.js and nero-detail.js.

const METHODS = { pca: "PCA", tsne: "t-SNE", isomap: "Isomap" };

const plain = (name) => name.replaceAll("_", " ");

// Options are pairs of value and text; a menu with a single one stays away.
const menu = (name, label, options) => `<label class="et-nero-menu"
  ${options.length > 1 ? "" : "hidden"}><span>${label}</span>
  <select data-et="${name}">${options.map(([value, text]) =>
    `<option value="${escaped(value)}">${escaped(text)}</option>`).join("")}</select></label>`;

const key = (name, m) => `<span class="et-nero-key et-nero-m${m}"><i></i>
  <span>${escaped(name)}</span> <b class="et-number" data-et="score-${m}"></b></span>`;

const view = (area, head, note, body) => `<div class="et-panel et-nero-${area}">
  <p class="et-head">${head}</p><p class="et-note">${note}</p>${body}</div>`;

const slider = (name, label, last) => `<div class="et-nero-plots" data-et="${name}" tabindex="0"
  role="slider" aria-label="${label}" aria-valuemin="1" aria-valuemax="${last}"></div>`;

const ramp = (name) => `<div class="et-nero-legend" data-et="${name}"><span></span>
  <span class="et-ramp"></span><span></span></div>`;

const lines = (name) => `<ul class="et-nero-facts et-note" data-et="${name}"></ul>`;

function markup(data, layout, labels) {
  const { models, samples, elements } = data;
  const metrics = [...new Set(data.series.map((s) => s.metric))].map((name) => [name, plain(name)]);
  const methods = Object.keys(data.series[0].models[0].maps).map((m) => [m, METHODS[m]]);
  const classes = [["", "all"], ...labels.map((k) => [String(k), data.classes[k]])];
  const colors = [["mean", "mean over the orbit"], ["spread", "spread over the orbit"],
    ...(labels.length ? [["label", "class"]] : [])];
  const circle = layout.kind === "circle";
  return `<div class="et-poly et-nero">
    <div class="et-nero-menus">
      ${menu("metric", "Score", metrics)}
      <span class="et-nero-menu" data-et="references"><span>Compared with</span>
        <span class="et-nero-toggle" role="group" aria-label="Compared with">${
          ["truth", "consensus"].map((r) => `<button type="button" class="et-button"
          data-et="${r}">${r}</button>`).join("")}</span></span>
      ${menu("label", "Class", classes)}
      <span class="et-nero-end">${menu("rank", "Worst of",
        models.map((name, m) => [String(m), name]))}
        <span class="et-nero-toggle"><button type="button" class="et-button"
        data-et="previous">◂ Previous worst</button><button type="button" class="et-button"
        data-et="next">Next worst ▸</button></span></span>
    </div>
    <p class="et-nero-status" data-et="status"><strong data-et="where"></strong>
      <span data-et="what"></span>
      ${models.map(key).join("")}</p>
    <div class="et-nero-stage">
    ${view("set", `1 · <span data-et="count"></span>, on average`, `${layout.note}
      ${circle ? "" : "Color: mean score."} Drag to choose an element.`,
      slider("aggregate", `Mean over samples. The chosen element; ${layout.keys}, Home goes to the
      first.`, elements) + (circle ? "" : ramp("scale")) + lines("set-facts"))}
    ${view("map", "2 · Every sample a dot", `Dots that lie together behave alike along the orbit.
      Click one.`, slider("map", `Map of samples. The chosen sample; arrow keys go to the next dot
      that way, Home to the worst.`, samples) + `<div class="et-nero-choices">
      ${menu("method", "Map by", methods)}
      ${menu("color", "Color", colors)}</div>` + ramp("map-scale")
      + `<p class="et-note" data-et="explained"></p>`)}
    ${view("one", `3 · <span data-et="title"></span> along its orbit`, `Same plot, same scale.
      An equivariant model ${circle ? "draws a circle" : "paints it in one color"}.`,
      slider("individual", `Scores of this sample. The chosen element; ${layout.keys}, Home goes to
      the first.`, elements) + lines("facts"))}
    ${view("detail", `4 · What the model gets<span data-et="element"></span>`,
      data.bars ? `Its answers: class probabilities in %${labels.length
        ? "; the true class is framed" : ""}.` : "The moved input and, where kept, raw outputs.",
      `<div data-et="detail"></div>`)}
    </div><p class="et-live" aria-live="polite" data-et="live"></p></div>`;
}

function mount(root, data, onChange) {
  const { models, samples: N, elements: G, orbit, classes } = data;
  const layout = makeLayout(orbit);
  const numbers = makeNumbers(data);
  const first = numbers.series[0];
  const labels = [...new Set(data.labels ?? [])].sort((a, b) => a - b);
  const home = orbit.identity ?? 0;
  const state = { ...numbers.telling(first), metric: first.metric, reference: "truth", label: "",
    method: Object.keys(first.maps[0])[0], color: "mean", rank: 0 };
  let speaking = 0;

  root.innerHTML = markup(data, layout, labels);
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const write = (name, text) => (part(name).textContent = text);
  const make = layout.kind === "circle" ? polarPlot : shapePlot;
  const set = make(part("aggregate"), layout, models);
  const one = make(part("individual"), layout, models);
  const map = mapPlot(part("map"), models, N);
  const detail = makeDetail(part("detail"), data, () => paintElement());
  for (const name of ["aggregate", "individual"])
    part(name).classList.toggle("et-nero-wide", layout.box[0] > 200);

  const series = () => numbers.find(state.metric, state.reference);
  const members = () => numbers.members(state.label);
  const ranking = () =>
    worstFirst(series().orbits[state.rank], members(), series().higher);
  const score = (value) => writeScore(value, series().decimals);
  const scale = () => ({ low: series().low, high: series().high, write: (v) =>
    String(Number(v.toPrecision(2))).replace("-", "−") });
  const sampleName = () => `Sample ${state.sample + 1}${data.labels
    ? `, class ${classes[data.labels[state.sample]]}` : ""}`;
  const list = (name, make) => (part(name).innerHTML = models.map((model, m) =>
    `<li class="et-nero-m${m}"><span>${escaped(model)}</span> ${escaped(make(m))}</li>`).join(""));
  const legend = (name, low, high, words) => {
    const [a, , b] = part(name).children;
    [a.textContent, b.textContent] = [low, `${high} ${words}`];
  };

  function paintSet() {
    const own = numbers.aggregates(series(), state.label);
    set.draw(own.map((a) => a.mean), own, scale());
    const count = members().length;
    const of = state.label === "" ? "" : ` of class ${classes[Number(state.label)]}`;
    write("count", `${count} sample${count === 1 ? "" : "s"}${of}`);
    const better = series().higher ? "" : ", larger is worse";
    if (part("scale"))
      legend("scale", scale().write(series().low), scale().write(series().high),
        plain(state.metric) + better);
  }

  function paintMap() {
    const { maps, orbits, low, high } = series();
    const chosen = maps.map((m) => m[state.method]);
    map.place(chosen.map((c) => c.points), state.method === "pca");
    const byClass = state.color === "label";
    const range = state.color === "spread"
      ? [0, Math.max(...orbits.flatMap((o) => o.spread.filter((v) => v > 0)), 1e-9)] : [low, high];
    const colors = byClass ? null : orbits.map((o) => o[state.color].map((v) =>
      Number.isNaN(v) ? "none" : cividis(share(v, ...range))));
    map.draw(colors, byClass ? data.labels.map((k) => classes[k].slice(0, 3)) : null, members());
    part("map-scale").hidden = byClass;
    legend("map-scale", scale().write(range[0]), scale().write(range[1]),
      `${plain(state.metric)}, ${state.color}`);
    const percent = (v) => `${Math.round(100 * v)} %`;
    write("explained", state.method !== "pca" ? "Far distances mean little in this map."
      : `One scale for all dots. Share of the variance they show: ${chosen.map((c, m) =>
        `${models[m]} ${percent(c.explained[0] + c.explained[1])}`).join(", ")}.`);
  }

  function paintSample() {
    const { scores, orbits } = series();
    one.draw(scores.map((s) => numbers.column(s, state.sample)), null, scale());
    map.mark(state.sample);
    write("title", sampleName());
    list("facts", (m) => {
      const { mean, spread, element, worst } = orbits[m];
      const n = state.sample;
      return `mean ${score(mean[n])}, spread ${score(spread[n])}, worst ${score(worst[n])} at `
        + orbit.labels[element[n]];
    });
    const position = part("map");
    position.setAttribute("aria-valuenow", state.sample + 1);
    position.setAttribute("aria-valuetext", sampleName());
  }

  function paintElement() {
    const g = state.element;
    const own = numbers.aggregates(series(), state.label);
    set.mark(g);
    one.mark(g);
    detail.draw(g, state.sample);
    write("element", ` at ${orbit.labels[g]}`);
    write("where", `${sampleName()}, at ${orbit.labels[g]}`);
    const values = series().scores.map((s) => score(s[g * N + state.sample]));
    values.forEach((value, m) => write(`score-${m}`, value));
    write("what", plain(state.metric) + (state.reference === "truth" ? "" : " by consensus"));
    list("set-facts", (m) => Number.isNaN(own[m].mean[g]) ? "missing here"
      : `mean here ${score(own[m].mean[g])}, middle half ${score(own[m].low[g])} to ${
        score(own[m].high[g])}`);
    for (const name of ["aggregate", "individual"]) {
      part(name).setAttribute("aria-valuenow", g + 1);
      part(name).setAttribute("aria-valuetext", orbit.labels[g]);
    }
    clearTimeout(speaking); // one sentence when the reader has stopped, not one for each element
    speaking = setTimeout(() => write("live", `${sampleName()}, at ${orbit.labels[g]}: ${
      models.map((model, m) => `${model} ${values[m]}`).join(", ")}.`), 400);
  }

  function paint() {
    const known = numbers.series.filter((s) => s.metric === state.metric).map((s) => s.reference);
    if (!known.includes(state.reference)) state.reference = known[0];
    part("references").hidden = known.length < 2;
    for (const name of ["truth", "consensus"])
      part(name).setAttribute("aria-pressed", String(state.reference === name));
    for (const name of ["metric", "label", "rank", "method", "color"])
      part(name).value = state[name];
    paintSet();
    paintMap();
    paintSample();
    paintElement();
  }

  const tell = () => onChange({ ...state });
  function moveTo(element) {
    if (element === undefined || element === state.element) return;
    state.element = element;
    paintElement();
    tell();
  }
  function choose(sample, element = state.element) {
    Object.assign(state, { sample, element });
    paintSample();
    paintElement();
    tell();
  }
  function goToRank(place) {
    const order = ranking();
    const sample = order[modulo(place, order.length)];
    choose(sample, series().orbits[state.rank].element[sample]);
  }

  // Calls `follow(svg's number, x, y, whether it begins)` in units of the drawing.
  function wirePointer(element, box, follow) {
    let held = null;
    const tellPlace = (event, begins) => {
      const frame = held.getBoundingClientRect();
      const at = [...element.querySelectorAll("svg")].indexOf(held);
      follow(at, ((event.clientX - frame.left) / frame.width) * box[0],
        ((event.clientY - frame.top) / frame.height) * box[1], begins);
    };
    element.addEventListener("pointerdown", (event) => {
      held = event.target.closest("svg");
      if (!held) return;
      element.setPointerCapture(event.pointerId);
      tellPlace(event, true);
    });
    element.addEventListener("pointermove", (event) => held && tellPlace(event, false));
    for (const end of ["pointerup", "pointercancel"])
      element.addEventListener(end, () => (held = null));
  }
  const wireKeys = (element, lead) => element.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !lead(event.key)) return;
    event.preventDefault();
  });

  for (const name of ["aggregate", "individual"]) {
    wirePointer(part(name), layout.box, (_, x, y) => moveTo(layout.pick(x, y)));
    wireKeys(part(name), (key) => {
      const to = key === "Home" ? home : layout.move(state.element, key);
      moveTo(to);
      return to !== undefined;
    });
  }
  wirePointer(part("map"), [200, 200], (m, x, y, begins) => {
    if (begins) choose(map.pick(m, x, y, members(), state.sample));
  });
  wireKeys(part("map"), (key) => {
    const [axis, step] = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, -1],
      ArrowDown: [1, 1] }[key] ?? [];
    if (key === "Home") goToRank(0);
    else if (step) {
      const places = map.places()[state.rank];
      const order = [...members()].sort((a, b) => places[a][axis] - places[b][axis] || a - b);
      choose(order[modulo(order.indexOf(state.sample) + step, order.length)]);
    } else return false;
    return true;
  });
  for (const [name, step] of [["previous", -1], ["next", 1]])
    part(name).addEventListener("click", () => {
      const order = ranking();
      const { element } = series().orbits[state.rank];
      const here = order.indexOf(state.sample);
      // From a sample's other elements, "next" first shows the worst of the sample itself.
      const waits = step > 0 && element[state.sample] !== state.element;
      goToRank(waits ? here : here + step);
    });
  for (const name of ["truth", "consensus"])
    part(name).addEventListener("click", () => {
      state.reference = name;
      paint();
      tell();
    });
  for (const name of ["metric", "label", "rank", "method", "color"])
    part(name).addEventListener("change", (event) => {
      const { value } = event.target;
      state[name] = name === "rank" ? Number(value) : value;
      paint();
      if (!members().includes(state.sample)) goToRank(0);
      else tell();
    });
  paint();

  return {
    get: () => ({ ...state }),
    set(next) {
      Object.assign(state, next);
      Object.assign(state, { sample: modulo(state.sample, N), element: modulo(state.element, G) });
      paint();
    },
  };
}
