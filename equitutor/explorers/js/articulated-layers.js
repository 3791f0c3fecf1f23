// Layers over the group for articulated-nn.js. Behind articulated-points.js.
// Features are flat arrays, row-major; `group.order` is the number of elements.

// Kernel-point convolution between points; features are (N, C), or (N, G, C) where lifted.
function interConv(points, centers, near, features, inputs, lifted, radius, group, weight) {
  const { kernel, where, order: g } = group;
  const count = kernel.length / 3;
  const outputs = weight.length / (count * inputs);
  const width = lifted ? g * inputs : inputs;
  const out = new Float64Array(near.length * g * outputs);
  near.forEach((few, s) => {
    const mixed = new Float64Array(count * width);
    let total = 0;
    const kappa = few.map((j) => {
      const u = [0, 1, 2].map((d) => points[3 * j + d] - centers[3 * s + d]);
      total += Math.max(0, 1 - (u[0] ** 2 + u[1] ** 2 + u[2] ** 2) / radius ** 2);
      return Array.from({ length: count }, (_, m) => {
        const square = [0, 1, 2].reduce((sum, d) => sum + (u[d] - (kernel[3 * m + d] * radius) / 2) ** 2, 0);
        return Math.max(0, 1 - (4 * square) / radius ** 2);
      });
    });
    few.forEach((j, k) => {
      for (let m = 0; m < count; m++) {
        const share = kappa[k][m] / Math.max(1, total);
        if (share) for (let c = 0; c < width; c++) mixed[m * width + c] += share * features[j * width + c];
      }
    });
    for (let a = 0; a < g; a++)
      for (let m = 0; m < count; m++)
        for (let c = 0; c < inputs; c++) {
          const value = mixed[m * width + (lifted ? a * inputs : 0) + c];
          if (!value) continue;
          const from = (where[a * count + m] * inputs + c) * outputs;
          const to = (s * g + a) * outputs;
          for (let d = 0; d < outputs; d++) out[to + d] += value * weight[from + d];
        }
  });
  return out;
}

// Convolution between group elements: f'(a) = b + sum_n V_n f(a b_n).
function intraConv(x, inputs, group, weight, bias) {
  const { sources, order: g } = group;
  const taps = sources.length / g;
  const outputs = bias.length;
  const out = new Float64Array((x.length / inputs) * outputs);
  for (let r = 0; r < x.length / inputs; r++) {
    const [to, a, first] = [r * outputs, r % g, r - (r % g)];
    for (let d = 0; d < outputs; d++) out[to + d] = bias[d];
    for (let n = 0; n < taps; n++)
      for (let c = 0; c < inputs; c++) {
        const value = x[(first + sources[a * taps + n]) * inputs + c];
        const from = (n * inputs + c) * outputs;
        for (let d = 0; d < outputs; d++) out[to + d] += value * weight[from + d];
      }
  }
  return out;
}

function separable(points, centers, near, picked, features, inputs, lifted, radius, group, get, name) {
  const w = (key) => get(`${name}.${key}`);
  const g = group.order;
  const outputs = w("intra.bias").length;
  let h = interConv(points, centers, near, features, inputs, lifted, radius, group, w("inter.weight"));
  h = layerNorm(h, outputs, w("norm1.weight"), w("norm1.bias")).map(leaky);
  h = intraConv(h, outputs, group, w("intra.weight"), w("intra.bias"));
  h = layerNorm(h, outputs, w("norm2.weight"), w("norm2.bias"));
  const few = gather(features, picked, lifted ? g * inputs : inputs);
  const skip = dense(few, picked.length * (lifted ? g : 1), w("skip.weight"));
  for (let s = 0; s < picked.length; s++)
    for (let i = 0; i < g * outputs; i++) {
      const at = s * g * outputs + i;
      h[at] = leaky(h[at] + (lifted ? skip[at] : skip[s * outputs + (i % outputs)]));
    }
  return h;
}

// Self-attention over the group with its residual path; one part's tokens (G, dim).
function groupAttention(x, dim, heads, group, get) {
  const g = group.order;
  const size = dim / heads;
  const h = layerNorm(x, dim, get("attention.norm.weight"), get("attention.norm.bias"));
  const qkv = dense(h, g, get("attention.query_key_value.weight"), get("attention.query_key_value.bias"));
  const bias = get("attention.bias");
  const mixed = new Float64Array(g * dim);
  const scores = new Float64Array(g);
  for (let head = 0; head < heads; head++)
    for (let a = 0; a < g; a++) {
      let [top, sum] = [-Infinity, 0];
      for (let b = 0; b < g; b++) {
        let score = 0;
        for (let i = 0; i < size; i++)
          score += qkv[a * 3 * dim + head * size + i] * qkv[b * 3 * dim + dim + head * size + i];
        scores[b] = score / Math.sqrt(size) + (bias ? bias[head * g + group.relative[a * g + b]] : 0);
        top = Math.max(top, scores[b]);
      }
      for (let b = 0; b < g; b++) sum += scores[b] = Math.exp(scores[b] - top);
      for (let b = 0; b < g; b++)
        for (let i = 0; i < size; i++)
          mixed[a * dim + head * size + i] += (scores[b] / sum) * qkv[b * 3 * dim + 2 * dim + head * size + i];
    }
  const out = dense(mixed, g, get("attention.out.weight"), get("attention.out.bias"));
  return out.map((v, i) => x[i] + v);
}
