// Forward passes of ArtEq and PointNet, equal to PyTorch's. Behind articulated-points.js
// and articulated-layers.js.
// Features are flat arrays, row-major; G is the number of group elements.

const rowsOfMax = (x, width) =>
  Array.from({ length: x.length / width }, (_, r) => {
    let best = 0;
    for (let c = 1; c < width; c++) if (x[r * width + c] > x[r * width + best]) best = c;
    return best;
  });

function softmaxRows(x, width) {
  const y = new Float64Array(x.length);
  for (let a = 0; a < x.length; a += width) {
    let [top, sum] = [-Infinity, 0];
    for (let c = 0; c < width; c++) top = Math.max(top, x[a + c]);
    for (let c = 0; c < width; c++) sum += y[a + c] = Math.exp(x[a + c] - top);
    for (let c = 0; c < width; c++) y[a + c] /= sum;
  }
  return y;
}

// Weighted means (P, width) of values (N, width) with weights (N, P).
function partMeans(values, width, weights, p) {
  const y = new Float64Array(p * width);
  const sums = new Float64Array(p);
  const n = weights.length / p;
  for (let i = 0; i < n; i++)
    for (let q = 0; q < p; q++) {
      const w = weights[i * p + q];
      sums[q] += w;
      if (w > 1e-12) for (let c = 0; c < width; c++) y[q * width + c] += w * values[i * width + c];
    }
  for (let q = 0; q < p; q++)
    for (let c = 0; c < width; c++) y[q * width + c] /= Math.max(sums[q], 1e-6);
  return y;
}

// R_a^T v: a vector as a group element sees it.
const seenFrom = (elements, a, v, d) =>
  v[0] * elements[9 * a + d] + v[1] * elements[9 * a + 3 + d] + v[2] * elements[9 * a + 6 + d];

function partLift(x, labels, p, group, get) {
  const { elements, order: g } = group;
  const [first, bias1] = [get("lift.first.weight"), get("lift.first.bias")];
  const width = bias1.length;
  const y = new Float64Array(p * g * 2 * width);
  const counts = new Float64Array(p);
  const middle = new Float64Array(3 * p);
  labels.forEach((q, i) => {
    counts[q]++;
    for (let d = 0; d < 3; d++) middle[3 * q + d] += x[3 * i + d];
  });
  labels.forEach((q, i) => {
    const v = [0, 1, 2].map((d) => (x[3 * i + d] - middle[3 * q + d] / counts[q]) / 0.15);
    const h = new Float64Array(g * width);
    for (let a = 0; a < g; a++) {
      const u = [0, 1, 2].map((d) => seenFrom(elements, a, v, d));
      for (let c = 0; c < width; c++)
        h[a * width + c] = leaky(u[0] * first[3 * c] + u[1] * first[3 * c + 1] + u[2] * first[3 * c + 2] + bias1[c]);
    }
    const out = dense(h, g, get("lift.second.weight"), get("lift.second.bias"));
    for (let a = 0; a < g; a++)
      for (let c = 0; c < width; c++) {
        const value = Math.max(0, out[a * width + c]);
        const at = (q * g + a) * 2 * width + c;
        y[at] += value / counts[q];
        y[at + width] = Math.max(y[at + width], value);
      }
  });
  return y;
}

// { logits (N, P), matrices (P, 9), beta, weights (P, G) } of points (N, 3).
function arteqForward({ config, weights }, group, points) {
  const get = (name) => weights[name];
  const { parents, samples, neighbors, radii, heads, liftPoints } = config;
  const p = parents.length;
  const g = group.order;
  const x = centered(points);
  const n = x.length / 3;
  const seen = pointInvariants(x);
  const picked = farthest(x, Math.min(samples[0], n));
  const centers = gather(x, picked, 3);
  const inner = picked.slice(0, samples[1]).map((_, i) => i);
  const [c1, c2] = ["stage1", "stage2"].map((name) => get(`${name}.intra.bias`).length);
  const h1 = separable(x, centers, nearest(x, centers, neighbors[0]), picked, seen, 10, false, radii[0], group, get, "stage1");
  const few = centers.subarray(0, 3 * inner.length);
  const h2 = separable(centers, few, nearest(centers, few, neighbors[1]), inner, h1, c1, true, radii[1], group, get, "stage2");
  const spread = interpolate(centers, few, h2, g * c2);
  const c = c1 + c2;
  const features = new Float64Array(picked.length * g * c);
  const pooledG = new Float64Array(picked.length * 2 * c).fill(0);
  for (let s = 0; s < picked.length; s++)
    for (let a = 0; a < g; a++)
      for (let k = 0; k < c; k++) {
        const v = k < c1 ? h1[(s * g + a) * c1 + k] : spread[(s * g + a) * c2 + k - c1];
        features[(s * g + a) * c + k] = v;
        const at = s * 2 * c + k;
        pooledG[at] += v / g;
        pooledG[at + c] = a ? Math.max(pooledG[at + c], v) : v;
      }
  const known = [[interpolate(x, centers, pooledG, 2 * c), 2 * c], [seen, 10]];
  if (get("frame.weight")) known.push(coordinates(x, features, picked.length, c, group, get("frame.weight")));
  const logits = withWhole(mlp(beside(known, n), n, get, "local"), n, null, get);
  const labels = rowsOfMax(logits, p);
  const parts = softmaxRows(logits, p);
  const pooled = partMeans(features, g * c, gather(parts, picked, p), p);
  const middle = partMeans(x, 3, parts, p);
  const step = stride(n, liftPoints);
  const thin = labels.map((_, i) => i).filter((i) => i % step === 0);
  const lift = get("lift.first.weight") && partLift(gather(x, thin, 3), thin.map((i) => labels[i]), p, group, get);
  const found = weigh(pooled, lift, middle, c, config, group, get);
  const matrices = new Float64Array(9 * p);
  for (let q = 0; q < p; q++)
    for (let a = 0; a < g; a++)
      for (let k = 0; k < 9; k++) matrices[9 * q + k] += found[q * g + a] * group.elements[9 * a + k];
  const sizes = new Float64Array(p * (c + 2));
  for (let q = 0; q < p; q++) {
    for (let a = 0; a < g; a++)
      for (let k = 0; k < c; k++) sizes[q * (c + 2) + k] += pooled[(q * g + a) * c + k] / g;
    let [mass, wide] = [0, 0];
    for (let i = 0; i < n; i++) {
      mass += parts[i * p + q];
      wide += parts[i * p + q] * apart(x, i, middle, q);
    }
    sizes[q * (c + 2) + c] = 4 * Math.sqrt(wide / Math.max(mass, 1e-6) + 1e-8);
    sizes[q * (c + 2) + c + 1] = 4 * Math.sqrt(apart(middle, q, middle, Math.max(parents[q], 0)) + 1e-8);
  }
  return { logits, labels, matrices, weights: found, beta: mlp(sizes, 1, get, "shape") };
}

// Coordinates of the points in vectors that turn with the cloud; see `ArtEq.frame_of` in Python.
function coordinates(x, features, count, c, group, weight) {
  const { elements, order: g } = group;
  const mean = new Float64Array(g * c);
  features.forEach((v, i) => (mean[i % (g * c)] += v / count));
  const seen = dense(mean, g, weight); // (G, F 3)
  const f = seen.length / (3 * g);
  const vectors = Array.from({ length: f }, (_, k) => {
    const v = [0, 0, 0];
    for (let a = 0; a < g; a++)
      for (let i = 0; i < 3; i++)
        for (let j = 0; j < 3; j++) v[i] += elements[9 * a + 3 * i + j] * seen[(a * f + k) * 3 + j];
    const scale = 1 / Math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2 + 0.01);
    return v.map((w) => w * scale);
  });
  const crossed = vectors.map(([a, b, e], k) => {
    const [p, q, r] = vectors[(k + 1) % f];
    return [b * r - e * q, e * p - a * r, a * q - b * p];
  });
  const n = x.length / 3;
  const out = new Float64Array(n * 2 * f);
  [...vectors, ...crossed].forEach((v, k) => {
    for (let i = 0; i < n; i++)
      out[i * 2 * f + k] = 3 * (v[0] * x[3 * i] + v[1] * x[3 * i + 1] + v[2] * x[3 * i + 2]);
  });
  return [out, 2 * f];
}

// Columns of several tables [values, width] side by side.
function beside(tables, n) {
  const total = tables.reduce((sum, [, width]) => sum + width, 0);
  const y = new Float64Array(n * total);
  let at = 0;
  for (const [values, width] of tables) {
    for (let i = 0; i < n; i++) y.set(values.subarray(i * width, (i + 1) * width), i * total + at);
    at += width;
  }
  return y;
}

function withWhole(h, n, whole, get) {
  const c = h.length / n;
  whole ??= columnMax(h, n);
  const w = whole.length;
  const y = new Float64Array(n * (c + w));
  for (let i = 0; i < n; i++) {
    y.set(h.subarray(i * c, (i + 1) * c), i * (c + w));
    y.set(whole, i * (c + w) + c);
  }
  return mlp(y, n, get, "segment");
}

function columnMax(h, n) {
  const c = h.length / n;
  const top = new Float64Array(c).fill(-Infinity);
  for (let i = 0; i < h.length; i++) top[i % c] = Math.max(top[i % c], h[i]);
  return top;
}

function weigh(pooled, lift, middle, c, config, group, get) {
  const { parents, heads } = config;
  const p = parents.length;
  const g = group.order;
  const width = lift ? lift.length / (p * g) : 0;
  const dim = get("token.0.bias").length;
  const children = parents.map((_, q) => parents.flatMap((r, i) => (r === q ? [i] : [])));
  const found = new Float64Array(p * g);
  for (let q = 0; q < p; q++) {
    const own = [...middle.subarray(3 * q, 3 * q + 3)];
    const up = parents[q] < 0 ? q : parents[q];
    const below = children[q].length ? children[q] : [q];
    const vectors = [
      own.map((v, d) => middle[3 * up + d] - v),
      own.map((v, d) => below.reduce((sum, r) => sum + middle[3 * r + d], 0) / below.length - v),
      own.map((v) => -v),
    ];
    const tokens = new Float64Array(g * (c + width + 9));
    for (let a = 0; a < g; a++) {
      const at = a * (c + width + 9);
      tokens.set(pooled.subarray((q * g + a) * c, (q * g + a + 1) * c), at);
      if (lift) tokens.set(lift.subarray((q * g + a) * width, (q * g + a + 1) * width), at + c);
      vectors.forEach((v, k) => {
        for (let d = 0; d < 3; d++)
          tokens[at + c + width + 3 * k + d] = 4 * seenFrom(group.elements, a, v, d);
      });
    }
    const code = get("embedding").subarray(q * dim, (q + 1) * dim);
    const h = mlp(tokens, g, get, "token").map((v, i) => v + code[i % dim]);
    found.set(mlp(groupAttention(h, dim, heads, group, get), g, get, "weight"), q * g);
  }
  return found;
}

// The same outputs from a network without symmetry.
function pointnetForward({ config, weights }, points) {
  const get = (name) => weights[name];
  const x = centered(points).map((v) => 2 * v);
  const n = x.length / 3;
  const h = mlp(x, n, get, "local").map(leaky);
  const whole = columnMax(mlp(h, n, get, "whole"), n);
  const logits = withWhole(h, n, whole, get);
  const active = whole.map(leaky);
  return {
    logits,
    labels: rowsOfMax(logits, config.parents.length),
    matrices: mlp(active, 1, get, "pose"),
    beta: mlp(active, 1, get, "shape"),
  };
}
