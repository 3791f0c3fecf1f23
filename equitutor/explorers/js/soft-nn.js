// Forward pass of equitutor's TypedNetwork over scalars, vectors and 3 x 3 matrices, and the action
// of a 3 x 3 matrix h on such features. Sums are taken in double precision.

const tensorSizes = [1, 3, 9];

// Length of a feature vector with n0 scalars, n1 vectors and n2 matrices.
function repSize(rep) {
  return rep[0] + 3 * rep[1] + 9 * rep[2];
}

// rho(h) x: scalars stay, v becomes h v, M becomes h M h^T.
function actOn(h, x, [n0, n1, n2]) {
  const y = Float64Array.from(x);
  for (let k = 0; k < n1; k++) {
    const at = n0 + 3 * k;
    for (let i = 0; i < 3; i++)
      y[at + i] = h[3 * i] * x[at] + h[3 * i + 1] * x[at + 1] + h[3 * i + 2] * x[at + 2];
  }
  for (let k = 0; k < n2; k++) {
    const at = n0 + 3 * n1 + 9 * k;
    for (let i = 0; i < 3; i++)
      for (let j = 0; j < 3; j++) {
        let sum = 0;
        for (let a = 0; a < 3; a++)
          for (let b = 0; b < 3; b++) sum += h[3 * i + a] * x[at + 3 * a + b] * h[3 * j + b];
        y[at + 3 * i + j] = sum;
      }
  }
  return y;
}

function affine(x, weight, bias) {
  const [n, m] = [x.length, bias.length];
  const y = new Float64Array(m);
  for (let o = 0; o < m; o++) {
    let sum = bias[o];
    for (let i = 0, w = o * n; i < n; i++, w++) sum += weight[w] * x[i];
    y[o] = sum;
  }
  return y;
}

const sigmoid = (v) => 1 / (1 + Math.exp(-v));

// What each product of two tensors adds to the tensor at `at` of y, times the weight w.
const PRODUCTS = {
  ss: [0, 0, 0, (y, at, x, a, b, w) => (y[at] += w * x[a] * x[b])],
  vv: [0, 1, 1, (y, at, x, a, b, w) => {
    for (let i = 0; i < 3; i++) y[at] += w * x[a + i] * x[b + i];
  }],
  mm: [0, 2, 2, (y, at, x, a, b, w) => {
    for (let i = 0; i < 9; i++) y[at] += w * x[a + i] * x[b + i];
  }],
  sv: [1, 0, 1, (y, at, x, a, b, w) => {
    for (let i = 0; i < 3; i++) y[at + i] += w * x[a] * x[b + i];
  }],
  mv: [1, 2, 1, (y, at, x, a, b, w) => {
    for (let i = 0; i < 3; i++)
      for (let j = 0; j < 3; j++) y[at + i] += w * x[a + 3 * i + j] * x[b + j];
  }],
  sm: [2, 0, 2, (y, at, x, a, b, w) => {
    for (let i = 0; i < 9; i++) y[at + i] += w * x[a] * x[b + i];
  }],
  vvt: [2, 1, 1, (y, at, x, a, b, w) => {
    for (let i = 0; i < 3; i++)
      for (let j = 0; j < 3; j++) y[at + 3 * i + j] += w * x[a + i] * x[b + j];
  }],
};

// GatedQuadratic: products of pairs of channels, then SiLU on scalars and a gate on the others.
function gatedQuadratic(full, rep, products) {
  const [n0, n1, n2] = rep;
  const gates = full.subarray(n0, n0 + n1 + n2);
  const x = new Float64Array(repSize(rep)); // without the gates
  x.set(full.subarray(0, n0));
  x.set(full.subarray(n0 + n1 + n2), n0);
  const y = Float64Array.from(x);
  const start = [0, n0, n0 + 3 * n1];
  for (const { kind, weight } of products) {
    const [out, left, right, multiply] = PRODUCTS[kind];
    const [n, m] = [rep[left], rep[right]];
    for (let c = 0; c < weight.length; c++) {
      const partner = (c + 1 + Math.floor(c / m)) % m;
      multiply(y, start[out] + tensorSizes[out] * c, x, start[left] + tensorSizes[left] * (c % n),
        start[right] + tensorSizes[right] * partner, weight[c]);
    }
  }
  for (let c = 0; c < n0; c++) y[c] *= sigmoid(y[c]);
  for (let c = 0; c < n1 + n2; c++) {
    const size = c < n1 ? 3 : 9;
    const at = c < n1 ? n0 + 3 * c : n0 + 3 * n1 + 9 * (c - n1);
    const gate = sigmoid(gates[c]);
    for (let i = 0; i < size; i++) y[at + i] *= gate;
  }
  return y;
}

// Output of the network for one input; `layers` hold weight and bias, `acts` lie between them.
function typedForward({ acts, hidden }, layers, x) {
  let y = x;
  layers.forEach(({ weight, bias }, k) => {
    y = affine(y, weight, bias);
    if (k < acts.length) y = gatedQuadratic(y, hidden, acts[k]);
  });
  return y;
}

// Layers with the weights P W + t (W - P W); `projected` holds P W of each layer for one group.
function blend(layers, projected, t) {
  const mix = (w, p) => p.map((v, i) => v + t * (w[i] - v));
  return layers.map((layer, k) => ({
    weight: mix(layer.weight, Float64Array.from(projected[k].weight)),
    bias: mix(layer.bias, Float64Array.from(projected[k].bias)),
  }));
}
