// Layers, neighbors and invariants of points for articulated-nn.js: flat arrays, row-major.

const leaky = (v) => (v > 0 ? v : 0.1 * v);
const stride = (n, most) => Math.max(1, Math.ceil(n / most));

// y = x W^T + b for `rows` rows; weight is (outputs, inputs) as in PyTorch.
function dense(x, rows, weight, bias) {
  const inputs = x.length / rows;
  const outputs = weight.length / inputs;
  const y = new Float64Array(rows * outputs);
  for (let r = 0; r < rows; r++)
    for (let o = 0; o < outputs; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0, a = r * inputs, b = o * inputs; i < inputs; i++) sum += x[a + i] * weight[b + i];
      y[r * outputs + o] = sum;
    }
  return y;
}

// Linear layers with leaky rectifiers between them; `name.0`, `name.2`, ... are the layers.
function mlp(x, rows, get, name) {
  let k = 0;
  for (; get(`${name}.${k}.weight`); k += 2) {
    if (k) x = x.map(leaky);
    x = dense(x, rows, get(`${name}.${k}.weight`), get(`${name}.${k}.bias`));
  }
  return x;
}

function layerNorm(x, channels, weight, bias) {
  const y = new Float64Array(x.length);
  for (let a = 0; a < x.length; a += channels) {
    let [mean, square] = [0, 0];
    for (let c = 0; c < channels; c++) mean += x[a + c] / channels;
    for (let c = 0; c < channels; c++) square += (x[a + c] - mean) ** 2 / channels;
    const scale = 1 / Math.sqrt(square + 1e-5);
    for (let c = 0; c < channels; c++) y[a + c] = (x[a + c] - mean) * scale * weight[c] + bias[c];
  }
  return y;
}

function centered(points) {
  const n = points.length / 3;
  const mean = [0, 0, 0];
  for (let i = 0; i < points.length; i++) mean[i % 3] += points[i] / n;
  return Float64Array.from(points, (v, i) => v - mean[i % 3]);
}

const apart = (a, i, b, j) =>
  (a[3 * i] - b[3 * j]) ** 2 + (a[3 * i + 1] - b[3 * j + 1]) ** 2 + (a[3 * i + 2] - b[3 * j + 2]) ** 2;

// For each center the indices of the k nearest points, nearest first.
function nearest(points, centers, k) {
  const n = points.length / 3;
  const found = [];
  for (let s = 0; s < centers.length / 3; s++) {
    const far = Float64Array.from({ length: n }, (_, i) => apart(points, i, centers, s));
    const limit = Float64Array.from(far).sort()[Math.min(k, n) - 1];
    const near = [];
    for (let i = 0; i < n; i++) if (far[i] <= limit) near.push(i);
    found.push(near.sort((i, j) => far[i] - far[j] || i - j).slice(0, k));
  }
  return found;
}

function farthest(points, count) {
  const n = points.length / 3;
  const gap = new Float64Array(n).fill(Infinity);
  const chosen = [0];
  while (chosen.length < count) {
    const last = chosen[chosen.length - 1];
    let best = 0;
    for (let i = 0; i < n; i++) {
      gap[i] = Math.min(gap[i], apart(points, i, points, last));
      if (gap[i] > gap[best]) best = i;
    }
    chosen.push(best);
  }
  return chosen;
}

const gather = (x, index, width) => {
  const y = new Float64Array(index.length * width);
  index.forEach((i, r) => y.set(x.subarray(i * width, (i + 1) * width), r * width));
  return y;
};

// Values (S, width) of centers mixed at each point from its three nearest centers.
function interpolate(points, centers, values, width) {
  const n = points.length / 3;
  const y = new Float64Array(n * width);
  nearest(centers, points, 3).forEach((near, i) => {
    const weight = near.map((s) => 1 / (apart(points, i, centers, s) + 1e-8));
    const sum = weight.reduce((a, b) => a + b, 0);
    near.forEach((s, k) => {
      for (let c = 0; c < width; c++) y[i * width + c] += (weight[k] / sum) * values[s * width + c];
    });
  });
  return y;
}

// Ten numbers for each point that no rotation changes; see `point_invariants` in Python.
function pointInvariants(x) {
  const n = x.length / 3;
  const y = new Float64Array(n * 10);
  nearest(x, x, 72).forEach((near, i) => {
    y[i * 10] = 3 * Math.hypot(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
    [8, 24, 72].forEach((size, k) => {
      const few = near.slice(0, size);
      const mean = [0, 1, 2].map((d) => few.reduce((sum, j) => sum + x[3 * j + d], 0) / few.length);
      const c = new Float64Array(9);
      for (const j of few)
        for (let a = 0; a < 3; a++)
          for (let b = 0; b < 3; b++)
            c[3 * a + b] += ((x[3 * j + a] - mean[a]) * (x[3 * j + b] - mean[b])) / few.length;
      const trace = c[0] + c[4] + c[8];
      const s = c.map((v) => v / (trace + 1e-8));
      const at = i * 10 + 1 + 3 * k;
      y[at] = 10 * Math.sqrt(trace + 1e-12);
      y[at + 1] = s.reduce((sum, v) => sum + v * v, 0);
      y[at + 2] = 27 * determinant(s);
    });
  });
  return y;
}

const determinant = (m) =>
  m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) +
  m[2] * (m[3] * m[7] - m[4] * m[6]);
