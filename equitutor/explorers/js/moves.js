// Ideal shifts and rotations of square images on a torus, and the reverse steps of a diffusion chain.

// Weights of the sample at distance k - shift, k = 0 ... n - 1: all waves but the Nyquist wave move.
// That one, of an even n, is multiplied by `nyquist`.
function kernel(n, shift, nyquist) {
  return Float64Array.from({ length: n }, (_, k) => {
    let weight = 1;
    for (let w = 1; w < n / 2; w++) weight += 2 * Math.cos((2 * Math.PI * w * (k - shift)) / n);
    if (n % 2 === 0) weight += k % 2 ? -nyquist : nyquist;
    return weight / n;
  });
}

function slideRow(x, n, at, stride, weights) {
  const row = Float64Array.from({ length: n }, (_, i) => x[at + i * stride]);
  for (let j = 0; j < n; j++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += weights[(j - i + n) % n] * row[i];
    x[at + j * stride] = sum;
  }
}

// The image moved by dy down and dx to the right, any real numbers. Whole pixels are moved as they
// are; a fraction s leaves cos(pi s) of the Nyquist wave, the part of it that pixels show.
export function idealShift(x, n, dy, dx) {
  const [down, right] = [Math.round(dy), Math.round(dx)];
  const source = (i, d) => (((i - d) % n) + n) % n;
  const y = Float64Array.from(x, (_, k) => x[source(Math.floor(k / n), down) * n + source(k % n, right)]);
  const [rows, columns] = [dy - down, dx - right];
  const [vertical, horizontal] = [rows, columns].map((s) => kernel(n, s, Math.cos(Math.PI * s)));
  if (rows) for (let k = 0; k < n; k++) slideRow(y, n, k, n, vertical);
  if (columns) for (let k = 0; k < n; k++) slideRow(y, n, k * n, 1, horizontal);
  return y;
}

const halfEven = (v) => {
  const low = Math.floor(v);
  return v - low === 0.5 ? low + (Math.abs(low) % 2) : Math.round(v);
};

// The image turned counter-clockwise by `angle` degrees: quarter turns exactly, the rest by shears.
export function idealRotate(x, n, angle) {
  const turns = halfEven(angle / 90);
  let y = Float64Array.from(x);
  for (let k = ((turns % 4) + 4) % 4; k > 0; k--) {
    const z = new Float64Array(n * n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) z[i * n + j] = y[j * n + n - 1 - i];
    y = z;
  }
  const rest = ((angle - 90 * turns) * Math.PI) / 180;
  if (rest === 0) return y;
  const shear = () => {
    for (let i = 0; i < n; i++)
      slideRow(y, n, i * n, 1, kernel(n, Math.tan(rest / 2) * (i - (n - 1) / 2), 1));
  };
  shear();
  for (let j = 0; j < n; j++) slideRow(y, n, j, n, kernel(n, -Math.sin(rest) * (j - (n - 1) / 2), 1));
  shear();
  return y;
}

// Which pixels lie within radius * n of the center.
export function discMask(n, radius = 0.4) {
  const inside = [];
  for (let k = 0; k < n * n; k++) {
    const [i, j] = [Math.floor(k / n) - (n - 1) / 2, (k % n) - (n - 1) / 2];
    inside.push(i * i + j * j <= (radius * n) ** 2);
  }
  return inside;
}

// 10 log10(4 / mean square of a - b), over the pixels of `mask` if there is one.
export function decibels(a, b, mask) {
  let [sum, count] = [0, 0];
  for (let k = 0; k < a.length; k++) {
    if (mask && !mask[k]) continue;
    sum += (a[k] - b[k]) ** 2;
    count++;
  }
  return sum === 0 ? Infinity : 10 * Math.log10((4 * count) / sum);
}

// The clean image that a network sees in x, and the noise, for a network that predicts velocity.
export function denoise(network, x, t, level, clip) {
  const v = unetForward(network, x, t);
  const [a, b] = [Math.sqrt(level), Math.sqrt(1 - level)];
  const clean = x.map((value, k) => Math.min(clip, Math.max(-clip, a * value - b * v[k])));
  return { clean, noise: x.map((value, k) => (value - a * clean[k]) / b) };
}

// The chain from noise to image, turned by turns[k] degrees after step k: all x on the way.
export function sampleChain(network, start, n, times, levels, turns) {
  const trace = [];
  let x = start;
  for (let k = 0; k < times.length; k++) {
    const { clean, noise } = denoise(network, x, times[k], levels[k], 1);
    const then = k + 1 < times.length ? levels[k + 1] : 1;
    const [a, b] = [Math.sqrt(then), Math.sqrt(Math.max(0, 1 - then))];
    x = clean.map((value, i) => a * value + b * noise[i]);
    if (turns[k]) x = idealRotate(x, n, turns[k]);
    trace.push(x);
  }
  return trace;
}

// The angle, of -180 ... 175 in steps of 5, at which `reference` is most like `turned`.
export function realizedAngle(reference, turned, n) {
  const mask = discMask(n);
  const centered = (x) => {
    const inside = [...x].filter((_, k) => mask[k]);
    const mean = inside.reduce((a, b) => a + b, 0) / inside.length;
    const rest = inside.map((v) => v - mean);
    const size = Math.sqrt(rest.reduce((a, b) => a + b * b, 0)) || 1e-12;
    return rest.map((v) => v / size);
  };
  const goal = centered(turned);
  let best = { angle: 0, alike: -Infinity };
  for (let angle = -180; angle < 180; angle += 5) {
    const part = centered(idealRotate(reference, n, angle));
    const alike = part.reduce((sum, v, k) => sum + v * goal[k], 0);
    if (alike > best.alike) best = { angle, alike };
  }
  return best;
}
