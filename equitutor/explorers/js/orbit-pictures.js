// Five groups, their elements, and what each makes of a shape of cells. Nothing here knows a page.

const GROUPS = {
  C4: { name: "C4", what: "four quarter turns" },
  D4: { name: "D4", what: "quarter turns and mirrors" },
  shifts: { name: "shifts", what: "moves on a torus of 7 × 7 cells" },
  SO2: { name: "SO(2)", what: "all turns of the plane" },
  SO3: { name: "SO(3)", what: "all turns of space" },
};
const SIDE = 7; // cells of the torus
const QUARTERS = [[1, 0, 0, 1], [0, -1, 1, 0], [-1, 0, 0, -1], [0, 1, -1, 0]]; // counter-clockwise
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

// The angle and the axis of a rotation of space, in words.
function inWords(m) {
  const angle = Math.acos(Math.min(1, Math.max(-1, (m[0] + m[4] + m[8] - 1) / 2)));
  const axis = [m[7] - m[5], m[2] - m[6], m[3] - m[1]];
  const size = Math.hypot(...axis);
  const degrees = Math.round((angle * 180) / Math.PI);
  if (size < 1e-6) return `turn by ${degrees}°`;
  return `turn by ${degrees}° about the axis (${axis.map((v) => (v / size).toFixed(1)).join(", ")})`;
}

function label(group, k, element) {
  if (group === "C4") return k ? `turn by ${90 * k}°` : "identity";
  if (group === "D4" && k > 3) return k > 4 ? `mirror top and bottom, then turn by ${90 * (k - 4)}°` : "mirror top and bottom";
  if (group === "D4") return k ? `turn by ${90 * k}°` : "identity";
  if (group === "shifts")
    return k ? `down by ${Math.floor(k / SIDE)}, right by ${k % SIDE}` : "identity";
  if (group === "SO2") return k ? `turn by ${TURN * k}°` : "identity";
  return k ? inWords(element) : "identity";
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
