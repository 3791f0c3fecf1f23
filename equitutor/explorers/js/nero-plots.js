// The three kinds of plot of the NERO explorer: a polar curve, colored shapes, a map of samples.
// Each function fills `holder` and returns { draw, mark }; colors of lines come from the style.

const CIVIDIS = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 174, 108], [255, 234, 70]];

const escaped = (text) => {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML.replaceAll('"', "&quot;");
};

const share = (value, low, high) => Math.min(Math.max((value - low) / (high - low || 1), 0), 1);

function cividis(t) {
  const k = Math.min(Math.floor(t * 4), 3);
  const mix = CIVIDIS[k].map((v, c) => Math.round(v + (t * 4 - k) * (CIVIDIS[k + 1][c] - v)));
  return `rgb(${mix})`;
}

// A pattern needs an id; a random one keeps explorers on one page apart.
function hatching() {
  const id = `et-hatch-${Math.random().toString(36).slice(2)}`;
  const definition = `<defs><pattern id="${id}" width="5" height="5" patternUnits="userSpaceOnUse"
    patternTransform="rotate(45)"><rect width="5" height="5" class="et-nero-blank"/>
    <path d="M0 0V5" class="et-nero-stripe"/></pattern></defs>`;
  return { definition, fill: `url(#${id})` };
}

const drawing = ([w, h], body) =>
  `<svg viewBox="0 0 ${w} ${h}" aria-hidden="true" focusable="false">${body}</svg>`;

function polarPlot(holder, layout, models) {
  const hatch = hatching();
  const each = (make) => models.map((_, m) => make(m)).join("");
  const turns = [0, 90, 180, 270].map((a) => {
    const [x, y] = along(a, RADIUS + 11);
    return `<text class="et-nero-turn" x="${x}" y="${y + 3}">${a}°</text>`;
  });
  holder.innerHTML = `<div class="et-nero-plot">${drawing(layout.box, `${hatch.definition}
    <path class="et-nero-missing" fill="${hatch.fill}"/>
    ${[0.5, 1].map((r) => `<circle class="et-nero-ring" cx="100" cy="100" r="${r * RADIUS}"/>`)
      .join("")}
    <path class="et-nero-ring" d="M${CENTER - RADIUS} 100h${2 * RADIUS}M100
      ${CENTER - RADIUS}v${2 * RADIUS}"/>${turns.join("")}
    ${each((m) => `<path class="et-nero-band et-nero-m${m}"/>`)}
    <path class="et-nero-hand"/>
    ${each((m) => `<path class="et-nero-curve et-nero-m${m}"/>`)}
    ${each((m) => `<circle class="et-nero-dot et-nero-m${m}" r="4.5"/>`)}
    ${[0, 0.5, 1].map((r) => `<text class="et-nero-tick" x="${CENTER + r * RADIUS * 0.71}"
      y="${CENTER - r * RADIUS * 0.71 + 3}"></text>`).join("")}`)}</div>`;
  const all = (name) => holder.querySelectorAll(`.et-nero-${name}`);
  const { angles, order } = layout;
  let shown = null;
  const at = (value, g) => along(angles[g], RADIUS * share(value, shown.low, shown.high));
  // A closed curve that leaves out what is missing.
  function curve(values) {
    const known = order.map((g) => !Number.isNaN(values[g]));
    if (known.every(Boolean)) return `M${order.map((g) => point(at(values[g], g))).join("L")}Z`;
    return [...order, order[0]].map((g, i) => {
      const here = known[i % order.length];
      if (!here) return "";
      const joined = i > 0 && known[i - 1];
      return `${joined ? "L" : "M"}${point(at(values[g], g))}${joined ? "" : "h0"}`;
    }).join("");
  }
  // The area between two curves, from each angle to the next.
  const between = (low, high) => order.map((g, i) => {
    const next = order[(i + 1) % order.length];
    if ([low[g], low[next]].some(Number.isNaN)) return "";
    const corners = [at(low[g], g), at(high[g], g), at(high[next], next), at(low[next], next)];
    return `M${corners.map(point).join("L")}Z`;
  }).join("");
  return {
    // values: for each model a score for each element; bands: for each model { low, high }.
    draw(values, bands, scale) {
      shown = { values, ...scale };
      all("curve").forEach((path, m) => path.setAttribute("d", curve(values[m])));
      all("band").forEach((path, m) => path.setAttribute("d",
        bands ? between(bands[m].low, bands[m].high) : ""));
      const gone = order.filter((g) => values.some((v) => Number.isNaN(v[g])));
      all("missing")[0].setAttribute("d", gone.map((g) => layout.shapes[g]).join(""));
      all("tick").forEach((text, i) =>
        (text.textContent = scale.write(scale.low + ((scale.high - scale.low) * i) / 2)));
    },
    mark(g) {
      all("hand")[0].setAttribute("d", `M100 100L${point(along(angles[g], RADIUS + 4))}`);
      all("dot").forEach((dot, m) => {
        const value = shown.values[m][g];
        const [x, y] = at(value, g);
        dot.style.display = Number.isNaN(value) ? "none" : "";
        if (!Number.isNaN(value)) dot.setAttribute("cx", x), dot.setAttribute("cy", y);
      });
    },
  };
}

function shapePlot(holder, layout, models) {
  const hatches = models.map(hatching);
  holder.innerHTML = models.map((name, m) => `<div class="et-nero-plot">
    <p class="et-nero-name et-nero-m${m}">${escaped(name)}</p>
    ${drawing(layout.box, `${hatches[m].definition}<g class="et-nero-shapes">${
      layout.shapes.map((d) => `<path d="${d}"/>`).join("")}</g>
      <g class="et-nero-titles">${layout.titles?.join("") ?? ""}</g>${layout.frame ?? ""}
      <path class="et-nero-chosen et-nero-halo"/><path class="et-nero-chosen"/>`)}</div>`).join("");
  const plots = [...holder.querySelectorAll(".et-nero-plot")].map((plot) => ({
    shapes: plot.querySelectorAll(".et-nero-shapes path"),
    titles: plot.querySelectorAll(".et-nero-titles text"),
    chosen: plot.querySelectorAll(".et-nero-chosen"),
  }));
  return {
    draw(values, _, scale) {
      plots.forEach(({ shapes, titles }, m) => shapes.forEach((shape, g) => {
        const t = share(values[m][g], scale.low, scale.high);
        shape.setAttribute("fill", Number.isNaN(t) ? hatches[m].fill : cividis(t));
        titles[g]?.setAttribute("class",
          Number.isNaN(t) ? "" : `et-nero-on-${t < 0.5 ? "dark" : "light"}`);
      }));
    },
    mark: (g) => plots.forEach(({ chosen }) =>
      chosen.forEach((path) => path.setAttribute("d", layout.shapes[g]))),
  };
}

// A dot for each sample and model.
function mapPlot(holder, models, count) {
  const spots = `<g class="et-nero-spot"><circle r="4"/><text y="3.5"></text></g>`;
  holder.innerHTML = models.map((name, m) => `<div class="et-nero-plot">
    <p class="et-nero-name et-nero-m${m}">${escaped(name)}</p>
    ${drawing([200, 200], `<path class="et-nero-ring" d="M100 4V196M4 100H196"/>
      <g class="et-nero-spots">${spots.repeat(count)}</g>
      <circle class="et-nero-chosen et-nero-halo" r="7.5"/>
      <circle class="et-nero-chosen" r="7.5"/>`)}</div>`).join("");
  const plots = [...holder.querySelectorAll(".et-nero-plot")].map((plot) => ({
    spots: [...plot.querySelectorAll(".et-nero-spot")],
    chosen: plot.querySelectorAll(".et-nero-chosen"),
  }));
  let places = [];
  return {
    places: () => places,
    // points: for each model (N, 2); `shared` puts all of them on one scale.
    place(points, shared) {
      const reach = points.map((p) => p.reduce((far, v) => Math.max(far, Math.abs(v)), 0));
      const widest = Math.max(...reach);
      places = points.map((p, m) => {
        const scale = 90 / ((shared ? widest : reach[m]) || 1);
        return plots[m].spots.map((spot, n) => {
          const place = [100 + scale * p[2 * n], 100 - scale * p[2 * n + 1]];
          spot.setAttribute("transform", `translate(${point(place)})`);
          return place;
        });
      });
    },
    // colors: for each model a CSS color for each sample, or null; words: for each sample, or null.
    draw(colors, words, members) {
      const inside = new Set(members);
      plots.forEach(({ spots }, m) => spots.forEach((spot, n) => {
        const [dot, text] = spot.children;
        dot.setAttribute("fill", colors ? colors[m][n] : "none");
        dot.style.display = words ? "none" : "";
        text.textContent = words ? words[n] : "";
        spot.classList.toggle("et-nero-out", !inside.has(n));
      }));
    },
    mark: (n) => plots.forEach(({ chosen }, m) => chosen.forEach((ring) =>
      ring.setAttribute("transform", `translate(${point(places[m][n])})`))),
    // The sample at a point of model m's map: the nearest; of several on one spot, the next.
    pick(m, x, y, members, current) {
      const far = (n) => Math.hypot(places[m][n][0] - x, places[m][n][1] - y);
      const nearest = members.reduce((best, n) => (far(n) < far(best) ? n : best));
      const [px, py] = places[m][nearest];
      const apart = (n) => Math.hypot(places[m][n][0] - px, places[m][n][1] - py);
      const same = members.filter((n) => apart(n) < 1);
      return same[(same.indexOf(current) + 1) % same.length];
    },
  };
}
