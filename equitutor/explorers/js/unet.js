// Forward pass of equitutor's UNet on one square image, with nothing but this file.
//
// Maps are Float64Array (channels, n, n). Weights carry PyTorch's state-dict names. How the network
// changes the rate comes with it: pairs of matrices, a map x becomes the sum of left x right.

// Numbers from base64 of little-endian float16.
export function unpackHalf(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float64Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (fraction / 1024) * 2 ** -14;
    values[i] = bits >> 15 ? -size : size;
  }
  return values;
}

// 3 x 3 correlation of maps (inputs, n, n) with weights (outputs, inputs, 3, 3).
export function conv3(x, n, weight, circular) {
  const inputs = x.length / (n * n);
  const outputs = weight.length / (9 * inputs);
  const m = n + 2;
  const wide = new Float64Array(inputs * m * m);
  for (let c = 0; c < inputs; c++)
    for (let i = -1; i <= n; i++)
      for (let j = -1; j <= n; j++) {
        const [u, v] = [(i + n) % n, (j + n) % n];
        if (!circular && (u !== i || v !== j)) continue;
        wide[(c * m + i + 1) * m + j + 1] = x[(c * n + u) * n + v];
      }
  const y = new Float64Array(outputs * n * n);
  for (let o = 0; o < outputs; o++)
    for (let c = 0; c < inputs; c++)
      for (let k = 0; k < 9; k++) {
        const w = weight[(o * inputs + c) * 9 + k];
        const from = (c * m + Math.floor(k / 3)) * m + (k % 3);
        for (let i = 0; i < n; i++) {
          const [row, out] = [from + i * m, (o * n + i) * n];
          for (let j = 0; j < n; j++) y[out + j] += w * wide[row + j];
        }
      }
  return y;
}

// 1 x 1 convolution with bias.
export function conv1(x, pixels, weight, bias) {
  const inputs = x.length / pixels;
  const y = new Float64Array(bias.length * pixels);
  for (let o = 0; o < bias.length; o++)
    for (let p = 0; p < pixels; p++) {
      let sum = bias[o];
      for (let c = 0; c < inputs; c++) sum += weight[o * inputs + c] * x[c * pixels + p];
      y[o * pixels + p] = sum;
    }
  return y;
}

// One group for all channels, then a factor and a bias for each.
export function groupNorm(x, weight, bias) {
  const pixels = x.length / weight.length;
  let mean = 0;
  for (const v of x) mean += v;
  mean /= x.length;
  let variance = 0;
  for (const v of x) variance += (v - mean) ** 2;
  const scale = 1 / Math.sqrt(variance / x.length + 1e-5); // PyTorch's default eps
  return x.map((v, i) => {
    const c = Math.floor(i / pixels);
    return (v - mean) * scale * weight[c] + bias[c];
  });
}

// The error function to 1e-15: a series of positive terms, and a continued fraction far from zero.
function erf(x) {
  const square = x * x;
  if (square < 6) {
    let [term, sum] = [x, x];
    for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) sum += term *= square / (k + 0.5);
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-square) * sum;
  }
  const size = Math.abs(x);
  let rest = size;
  for (let k = 40; k > 0; k--) rest = size + k / 2 / rest;
  return Math.sign(x) * (1 - Math.exp(-square) / Math.sqrt(Math.PI) / rest);
}
export const gelu = (x) => x.map((v) => 0.5 * v * (1 + erf(v * Math.SQRT1_2)));

// Sum over terms of left x right for each channel; left is (m, n), right is (n, m).
export function resample(x, n, terms) {
  const m = terms[0].left.length / n;
  const channels = x.length / (n * n);
  const y = new Float64Array(channels * m * m);
  const half = new Float64Array(n * m);
  for (const { left, right } of terms)
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < n; i++)
        for (let j = 0; j < m; j++) {
          let sum = 0;
          for (let k = 0; k < n; k++) sum += x[(c * n + i) * n + k] * right[k * m + j];
          half[i * m + j] = sum;
        }
      for (let i = 0; i < m; i++)
        for (let k = 0; k < n; k++) {
          const w = left[i * n + k];
          if (w === 0) continue;
          for (let j = 0; j < m; j++) y[(c * m + i) * m + j] += w * half[k * m + j];
        }
    }
  return y;
}

export function maxPool(x, n) {
  const m = n / 2;
  const y = new Float64Array((x.length / (n * n)) * m * m);
  for (let k = 0; k < y.length; k++) {
    const [c, i, j] = [Math.floor(k / (m * m)), Math.floor(k / m) % m, k % m];
    const at = (c * n + 2 * i) * n + 2 * j;
    y[k] = Math.max(x[at], x[at + 1], x[at + n], x[at + n + 1]);
  }
  return y;
}

const plus = (x, y) => x.map((v, i) => v + y[i]);
const joined = (x, y) => {
  const z = new Float64Array(x.length + y.length);
  z.set(x);
  z.set(y, x.length);
  return z;
};

// Output (channels, n, n) of the network for an image x (channels, n, n) at step t.
export function unetForward({ config, weights }, x, t) {
  const { levels, time_dim: dim, circular, down, up, act } = config;
  const w = (name) => weights[name];
  const activate = (y, n) =>
    act[n] ? resample(gelu(resample(y, n, act[n].up)), 2 * n, act[n].down) : gelu(y);

  function double(name, y, n, residual) {
    const norm = (z, k) => groupNorm(z, w(`${name}.norms.${k}.weight`), w(`${name}.norms.${k}.bias`));
    let z = activate(norm(conv3(y, n, w(`${name}.first.weight`), circular), 0), n);
    z = norm(conv3(z, n, w(`${name}.second.weight`), circular), 1);
    return residual ? activate(plus(y, z), n) : z;
  }
  const code = new Float64Array(dim);
  for (let k = 0; k < dim / 2; k++) {
    const angle = Math.fround(t * Math.fround(Math.exp((-2 * k * Math.log(1e4)) / dim)));
    code[k] = Math.sin(angle);
    code[k + dim / 2] = Math.cos(angle);
  }
  const silu = code.map((v) => v / (1 + Math.exp(-v)));
  function stage(name, y, n) {
    const z = double(`${name}.plain`, double(`${name}.residual`, y, n, true), n, false);
    const shift = conv1(silu, 1, w(`${name}.time.weight`), w(`${name}.time.bias`));
    return z.map((v, i) => v + shift[Math.floor(i / (n * n))]);
  }

  let n = config.side;
  let y = double("enter", x, n, false);
  const skips = [];
  for (let k = 0; k < levels; k++) {
    skips.push(y);
    y = down[n] ? resample(y, n, down[n]) : maxPool(y, n);
    n /= 2;
    y = stage(`descent.${k}`, y, n);
  }
  for (let k = 0; k < 3; k++) y = double(`bottom.${k}`, y, n, false);
  for (let k = 0; k < levels; k++) {
    y = resample(y, n, up[n]);
    n *= 2;
    y = stage(`ascent.${k}`, joined(skips.pop(), y), n);
  }
  return conv1(y, n * n, w("leave.weight"), w("leave.bias"));
}

// A network as `page_denoiser` sends it, with its weights unpacked.
export function unpackNetwork({ config, weights }) {
  const found = {};
  for (const [name, text] of Object.entries(weights)) found[name] = unpackHalf(text);
  return { config, weights: found };
}
