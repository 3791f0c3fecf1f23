// Where the elements of an orbit lie in a plot. Each layout has
//   box      [width, height] of the drawing
//   shapes   a path for each element (not for circles, which are drawn as curves)
//   centers  a point for each element
//   pick     the element at a point
//   move     the element that a key leads to, undefined for other keys
//   note     how to read it
//   frame    SVG that does not change, titles: SVG of text for each element (both may be missing)

const CENTER = 100;
const RADIUS = 80;

const modulo = (a, n) => ((a % n) + n) % n;
const along = (degrees, radius, cx = CENTER, cy = CENTER) => [
  cx + radius * Math.cos((degrees * Math.PI) / 180),
  cy - radius * Math.sin((degrees * Math.PI) / 180),
];
const point = ([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`;

// A piece of a ring, as short lines; with `inner` zero it is a wedge.
function sector(from, to, inner, outer, cx, cy) {
  const pieces = Math.max(1, Math.ceil((to - from) / 4));
  const rim = (radius) =>
    Array.from({ length: pieces + 1 }, (_, i) =>
      point(along(from + ((to - from) * i) / pieces, radius, cx, cy)));
  const back = inner ? rim(inner).reverse() : [point([cx, cy])];
  return `M${[...rim(outer), ...back].join("L")}Z`;
}

function circleLayout({ angles }) {
  const order = angles.map((_, g) => g).sort((a, b) => angles[a] - angles[b]);
  const half = 180 / angles.length;
  const apart = (a, b) => Math.abs(modulo(a - b + 180, 360) - 180);
  return {
    kind: "circle",
    note: "Angle: the element; distance from the center: the score. Line: mean; band: middle half.",
    box: [200, 200],
    angles,
    order,
    shapes: angles.map((a) => sector(a - half, a + half, 0, RADIUS, CENTER, CENTER)),
    centers: angles.map((a) => along(a, RADIUS)),
    pick(x, y) {
      const angle = (Math.atan2(CENTER - y, x - CENTER) * 180) / Math.PI;
      return order.reduce((best, g) =>
        apart(angles[g], angle) < apart(angles[best], angle) ? g : best);
    },
    move(g, key) {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[key];
      return step && order[modulo(order.indexOf(g) + step, order.length)];
    },
    keys: "arrow keys turn",
  };
}

function cellLayout({ cells, titles, axes }) {
  const rows = Math.max(...cells.map((c) => c[0])) + 1;
  const columns = Math.max(...cells.map((c) => c[1])) + 1;
  const size = 200 / columns;
  const gap = titles ? size * 0.04 : 0;
  const at = new Map(cells.map(([r, c], g) => [r * columns + c, g]));
  const short = titles && columns <= 6;
  const words = (g) => titles[g].split(", ").map((line, i, lines) => `<tspan
    x="${((cells[g][1] + 0.5) * size).toFixed(1)}" dy="${i ? 11 : -5 * (lines.length - 1)}">${
    escaped(line)}</tspan>`).join("");
  return {
    kind: "cells",
    box: [200, rows * size],
    shapes: cells.map(([r, c]) => {
      const [x, y, s] = [c * size + gap, r * size + gap, size - 2 * gap];
      return `M${x.toFixed(2)} ${y.toFixed(2)}h${s}v${s}h${-s}Z`;
    }),
    centers: cells.map(([r, c]) => [(c + 0.5) * size, (r + 0.5) * size]),
    titles: short
      ? cells.map((c, g) => `<text y="${((c[0] + 0.5) * size + 3).toFixed(1)}">${words(g)}</text>`)
      : null,
    note: axes ? "Each cell is a shift; the unmoved input stands in the middle."
      : "Each tile is an element.",
    pick(x, y) { // outside the drawing: the cell at its edge
      const clamp = (v, n) => Math.min(Math.max(Math.floor(v / size), 0), n - 1);
      return at.get(clamp(y, rows) * columns + clamp(x, columns));
    },
    move(g, key) {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0],
        ArrowDown: [1, 0] }[key];
      if (!step) return undefined;
      let [r, c] = cells[g];
      do {
        [r, c] = [modulo(r + step[0], rows), modulo(c + step[1], columns)];
      } while (!at.has(r * columns + c)); // the last row may be short
      return at.get(r * columns + c);
    },
    keys: "arrow keys move",
  };
}

function diskLayout({ shape: [planes, axes, angles], planes: names }) {
  const [side, radius] = [220, 72]; // room for the names of the axes
  const shapes = [];
  const centers = [];
  const turn = 360 / axes;
  for (let p = 0; p < planes; p++) {
    const [cx, cy] = [side * (p + 0.5), CENTER];
    for (let a = 0; a < axes; a++) {
      for (let k = 0; k < angles; k++) {
        const inner = (Math.max(k - 0.5, 0) / (angles - 1)) * radius;
        const outer = (Math.min(k + 0.5, angles - 1) / (angles - 1)) * radius;
        shapes.push(sector((a - 0.5) * turn, (a + 0.5) * turn, inner, outer, cx, cy));
        centers.push(along(a * turn, Math.max((inner + outer) / 2, k && 1), cx, cy));
      }
    }
  }
  const index = (p, a, k) => (p * axes + a) * angles + k;
  return {
    kind: "disk",
    box: [side * planes, 200],
    shapes,
    centers,
    frame: names.map((name, p) => ["+", "−"].map((sign, i) => [...name].map((axis, j) => {
      const [x, y] = along(180 * i + 90 * j, radius + 19, side * (p + 0.5), CENTER);
      return `<text class="et-nero-axis" x="${x}" y="${y + 7}">${sign}${axis}</text>`;
    }).join("")).join("")).join(""),
    note: "Direction: the axis of the turn; distance from the center: its angle, up to 180°.",
    pick(x, y) {
      const p = Math.min(Math.max(Math.floor(x / side), 0), planes - 1);
      const [dx, dy] = [x - side * (p + 0.5), CENTER - y];
      const angle = (Math.atan2(dy, dx) * 180) / Math.PI;
      const k = Math.round((Math.hypot(dx, dy) / radius) * (angles - 1));
      return index(p, modulo(Math.round(angle / turn), axes), Math.min(k, angles - 1));
    },
    move(g, key) {
      const [p, a, k] = [Math.floor(g / axes / angles), Math.floor(g / angles) % axes, g % angles];
      const clamp = (v) => Math.min(Math.max(v, 0), angles - 1);
      return {
        ArrowLeft: () => index(p, modulo(a + 1, axes), k),
        ArrowRight: () => index(p, modulo(a - 1, axes), k),
        ArrowUp: () => index(p, a, clamp(k + 1)),
        ArrowDown: () => index(p, a, clamp(k - 1)),
        PageUp: () => index(modulo(p + 1, planes), a, k),
        PageDown: () => index(modulo(p - 1, planes), a, k),
      }[key]?.();
    },
    keys: "left and right change the axis, up and down the angle, Page Up and Down the disk",
  };
}

const makeLayout = (orbit) =>
  ({ circle: circleLayout, cells: cellLayout, disk: diskLayout })[orbit.kind](orbit);
