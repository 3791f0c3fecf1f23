// The Cayley table of a small group: choose a cell and see its two transformations composed.

const INKS = ["#e8e8e8", "#56b4e9", "#e69f00", "#f0e442", "#78d6b4", "#d5a6c8", "#f3a27c", "#9db4ff"];
const LETTER = [[-1, 2], [0, 2], [1, 2], [-1, 1], [-1, 0], [0, 0], [-1, -1], [-1, -2]];

function letter([a, b, c, d]) {
  const corner = (x, y) => `${(a * x + b * y).toFixed(3)},${(-(c * x + d * y)).toFixed(3)}`;
  return LETTER.map(([x, y]) => `<polygon class="et-cell" points="${[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]
    .map(([u, v]) => corner(x + u, y + v)).join(" ")}"/>`).join("");
}

function mount(root, data, onChange) {
  const { groups } = data;
  const state = { group: groups.length - 1, g: 1, h: Math.min(groups.at(-1).mul.length - 1, 4) };
  root.innerHTML = `<div class="et-cayley">
    <div class="et-row" role="group" aria-label="Choose a group">${groups.map((g, k) =>
      `<button type="button" class="et-choice" data-et="group" data-value="${k}"></button>`).join("")}</div>
    <div class="et-two">
      <div class="et-scroll"><table class="et-table" data-et="table" role="grid"></table></div>
      <div class="et-stack">
        <div class="et-chain" data-et="chain"></div>
        <p class="et-now" data-et="says" aria-live="polite"></p>
        <div class="et-row"><button type="button" class="et-button" data-et="swap">Swap the two</button>
          <button type="button" class="et-button" data-et="next">Next pair that does not commute</button></div>
        <p class="et-note" data-et="commute"></p>
      </div>
    </div></div>`;
  root.querySelectorAll(".et-choice").forEach((b, k) => (b.textContent = groups[k].name));
  const part = (name) => root.querySelector(`[data-et="${name}"]`);
  const current = () => groups[state.group];
  const color = (k) => INKS[k % INKS.length];

  function table() {
    const { mul, labels, short } = current();
    const head = short.map((s, k) => `<th scope="col" title="${labels[k]}" style="--et-fill:${color(k)}">${s}</th>`);
    const rows = mul.map((row, g) => `<tr><th scope="row" title="${labels[g]}" style="--et-fill:${color(g)}">${short[g]}</th>${row
      .map((k, h) => `<td role="gridcell" data-g="${g}" data-h="${h}" tabindex="-1" style="--et-fill:${color(k)}"
        aria-label="${short[k]}: ${labels[h]}, then ${labels[g]}, is ${labels[k]}">${short[k]}</td>`).join("")}</tr>`);
    part("table").innerHTML = `<thead><tr><td class="et-corner" title="row g, column h">g \\ h</td>${head.join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
    part("table").setAttribute("aria-label", `Multiplication table of ${current().name}`);
  }

  const pairs = () => {
    const { mul } = current();
    return mul.flatMap((row, g) => row.map((_, h) => [g, h])).filter(([g, h]) => mul[g][h] !== mul[h][g]);
  };

  function paint(focus) {
    const { mul, labels, short, matrices } = current();
    const { g, h } = state;
    const [gh, hg] = [mul[g][h], mul[h][g]];
    root.querySelectorAll(".et-choice").forEach((b, k) =>
      b.setAttribute("aria-pressed", String(k === state.group)));
    root.querySelectorAll("td[data-g]").forEach((cell) => {
      const here = Number(cell.dataset.g) === g && Number(cell.dataset.h) === h;
      cell.classList.toggle("et-on", here);
      cell.tabIndex = here ? 0 : -1;
      if (here && focus) cell.focus();
    });
    const multiply = ([a, b, c, d], [p, q, r, s]) => [a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s];
    const step = (matrix, words, k) => `<figure><svg viewBox="-3 -3 6 6" role="img" aria-label="F after ${words}"
      style="--et-fill:${color(k)}">${letter(matrix)}</svg><figcaption>${words}</figcaption></figure>`;
    const unit = matrices[mul.findIndex((row, k) => row.every((v, j) => v === j))];
    part("chain").innerHTML = `${step(unit, "F", 0)}<span>→</span>${step(matrices[h], `first ${short[h]}`, h)}<span>→</span>${
      step(multiply(matrices[g], matrices[h]), `then ${short[g]}`, gh)}<span>=</span>${step(matrices[gh], short[gh], gh)}`;
    part("says").textContent = `First ${labels[h]}, then ${labels[g]}: together ${labels[gh]}.${labels.includes("mirror") ? " (Mirror: top and bottom change places.)" : ""}`;
    part("commute").textContent = gh === hg
      ? `The other way round gives the same.`
      : `The other way round gives another element: ${labels[hg]}.`;
    const any = pairs().length;
    part("next").disabled = !any;
    part("next").textContent = any ? "Next pair that does not commute" : "Here all pairs commute";
  }

  function choose(changes, focus = false) {
    const group = state.group;
    Object.assign(state, changes);
    state.group = Math.min(Math.max(0, state.group), groups.length - 1);
    const n = current().mul.length;
    state.g = Math.min(state.g, n - 1);
    state.h = Math.min(state.h, n - 1);
    if (state.group !== group || !part("table").rows.length) table();
    paint(focus);
  }
  const change = (changes, focus) => (choose(changes, focus), onChange({ ...state }));

  root.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-g]");
    if (cell) return change({ g: Number(cell.dataset.g), h: Number(cell.dataset.h) }, true);
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.et === "group") change({ group: Number(button.dataset.value) });
    if (button.dataset.et === "swap") change({ g: state.h, h: state.g });
    if (button.dataset.et === "next") {
      const list = pairs(), n = current().mul.length;
      const after = list.find(([g, h]) => g * n + h > state.g * n + state.h) ?? list[0];
      change({ g: after[0], h: after[1] });
    }
  });
  part("table").addEventListener("keydown", (event) => {
    const n = current().mul.length;
    const ends = { Home: 0, End: n - 1 };  // of the row
    if (event.key in ends) {
      event.preventDefault();
      return change({ h: ends[event.key] }, true);
    }
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    change({ g: (state.g + move[0] + n) % n, h: (state.h + move[1] + n) % n }, true);
  });
  choose({});
  return { get: () => ({ ...state }), set: choose };
}
