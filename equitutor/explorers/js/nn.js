// Forward pass of equitutor's PolyViT on one image, with nothing but this file.
//
// Activations lie token after token (row i holds the `dim` numbers of token i), in arrays of the kind
// of the image's: Float32Array or Float64Array. Every sum is taken in double precision and rounded
// once. Weights carry PyTorch's state-dict names.

// y = x W^T + b for each of the `n` rows of x; W is (outputs, inputs) as PyTorch stores it.
export function linear(x, n, weight, bias) {
  const outputs = bias.length;
  const inputs = weight.length / outputs;
  const y = new x.constructor(n * outputs);
  for (let row = 0; row < n; row++) {
    const start = row * inputs;
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let i = 0, w = o * inputs; i < inputs; i++, w++) sum += x[start + i] * weight[w];
      y[row * outputs + o] = sum;
    }
  }
  return y;
}

export function layerNorm(x, n, weight, bias) {
  const dim = weight.length;
  const y = new x.constructor(x.length);
  for (let row = 0; row < n; row++) {
    const start = row * dim;
    let mean = 0;
    for (let i = 0; i < dim; i++) mean += x[start + i];
    mean /= dim;
    let variance = 0;
    for (let i = 0; i < dim; i++) variance += (x[start + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(variance / dim + 1e-5); // PyTorch's default eps
    for (let i = 0; i < dim; i++) y[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

export function geluTanh(x) {
  const c = Math.sqrt(2 / Math.PI);
  return x.map((v) => 0.5 * v * (1 + Math.tanh(c * (v + 0.044715 * v * v * v))));
}

export function softmax(logits) {
  const top = Math.max(...logits);
  const exps = Array.from(logits, (v) => Math.exp(v - top));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((v) => v / sum);
}

export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best; // the first of equals, as in PyTorch
}

// Multi-head attention among the `n` rows of x. `get` looks up the layer's weights.
function attention(x, n, heads, get) {
  const q = linear(x, n, get("query.weight"), get("query.bias"));
  const kv = linear(x, n, get("key_value.weight"), get("key_value.bias")); // keys, then values
  const dim = q.length / n;
  const width = dim / heads;
  const mixed = new x.constructor(n * dim);
  const scores = new Float64Array(n);
  for (let head = 0; head < heads; head++) {
    const first = head * width;
    for (let i = 0; i < n; i++) {
      let top = -Infinity;
      for (let j = 0; j < n; j++) {
        let dot = 0;
        for (let c = 0; c < width; c++) dot += q[i * dim + first + c] * kv[j * 2 * dim + first + c];
        scores[j] = dot / Math.sqrt(width);
        if (scores[j] > top) top = scores[j];
      }
      let sum = 0;
      for (let j = 0; j < n; j++) sum += scores[j] = Math.exp(scores[j] - top);
      for (let c = 0; c < width; c++) {
        let value = 0;
        for (let j = 0; j < n; j++) value += scores[j] * kv[(j * 2 + 1) * dim + first + c];
        mixed[i * dim + first + c] = value / sum;
      }
    }
  }
  return linear(mixed, n, get("out.weight"), get("out.bias"));
}

// Tokens of an image (channels, height, width): each patch in one row of numbers, then linear.
function embed(image, { channels, size: [height, width], patch: [ph, pw] }, weight, bias) {
  const [rows, columns] = [height / ph, width / pw];
  const flat = new image.constructor(image.length);
  let k = 0;
  for (let r = 0; r < rows; r++)
    for (let s = 0; s < columns; s++)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < ph; i++)
          for (let j = 0; j < pw; j++)
            flat[k++] = image[(c * height + r * ph + i) * width + s * pw + j];
  return linear(flat, rows * columns, weight, bias);
}

// x + depth-wise 3 x 3 correlation of the token map, circular or with zeros outside.
function neighborhood(x, rows, columns, weight, bias, circular) {
  const dim = bias.length;
  const y = new x.constructor(x.length);
  for (let r = 0; r < rows; r++) {
    for (let s = 0; s < columns; s++) {
      for (let c = 0; c < dim; c++) {
        let sum = bias[c];
        for (let i = -1; i <= 1; i++) {
          for (let j = -1; j <= 1; j++) {
            const [u, v] = [(r + i + rows) % rows, (s + j + columns) % columns];
            if (!circular && (u !== r + i || v !== s + j)) continue;
            sum += weight[c * 9 + (i + 1) * 3 + j + 1] * x[(u * columns + v) * dim + c];
          }
        }
        const here = (r * columns + s) * dim + c;
        y[here] = x[here] + sum;
      }
    }
  }
  return y;
}

const add = (x, y) => x.map((v, i) => v + y[i]);

// The image (channels, height, width) moved by dy down and dx to the right, around the torus.
export function roll(image, channels, [height, width], dy, dx) {
  const y = new image.constructor(image.length);
  const [down, right] = [((dy % height) + height) % height, ((dx % width) + width) % width];
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < height; i++)
      for (let j = 0; j < width; j++)
        y[(c * height + ((i + down) % height)) * width + ((j + right) % width)] =
          image[(c * height + i) * width + j];
  return y;
}

// Energy of each polyphase component, row-major over the patch. Per-pixel energies are float32 and
// the sums over cells double, so that a shift permutes the scores without touching a digit.
export function phaseScores(image, { channels, size: [height, width], patch: [ph, pw], power }) {
  const scores = new Float64Array(ph * pw);
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      let energy = 0;
      for (let c = 0; c < channels; c++) {
        const value = Math.abs(image[(c * height + i) * width + j]);
        energy = Math.fround(energy + Math.fround(value ** power));
      }
      scores[(i % ph) * pw + (j % pw)] += energy;
    }
  }
  return scores;
}

// The winning component [row, column] and the image rolled so that it stands at the grid's corner.
export function anchorImage(image, config) {
  const scores = phaseScores(image, config);
  const best = argmax(scores);
  const [dy, dx] = [Math.floor(best / config.patch[1]), best % config.patch[1]];
  return { scores, dy, dx, image: roll(image, config.channels, config.size, -dy, -dx) };
}

// Logits of an image (channels, height, width) with values as PyTorch would see them.
export function vitForward(weights, config, image) {
  const { size, patch, depth, heads, anchored, position } = config;
  const [rows, columns] = [size[0] / patch[0], size[1] / patch[1]];
  const n = rows * columns;
  const w = (name) => weights[name];
  const input = anchored ? anchorImage(image, config).image : image;
  let x = embed(input, config, w("embed.project.weight"), w("embed.project.bias"));
  if (position === "absolute") x = add(x, w("position.code"));
  else if (position !== "none") {
    const [kernel, bias] = [w("position.conv.weight"), w("position.conv.bias")];
    x = neighborhood(x, rows, columns, kernel, bias, position === "circular");
  }
  for (let k = 0; k < depth; k++) {
    const get = (name) => w(`blocks.${k}.${name}`);
    const inner = (name) => get(`attention.${name}`);
    x = add(x, attention(layerNorm(x, n, get("norm1.weight"), get("norm1.bias")), n, heads, inner));
    let y = layerNorm(x, n, get("norm2.weight"), get("norm2.bias"));
    y = geluTanh(linear(y, n, get("mlp.0.weight"), get("mlp.0.bias")));
    x = add(x, linear(y, n, get("mlp.2.weight"), get("mlp.2.bias")));
  }
  x = layerNorm(x, n, w("norm.weight"), w("norm.bias"));
  const mean = new x.constructor(x.length / n).map((_, c) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += x[i * (x.length / n) + c];
    return sum / n;
  });
  return linear(mean, 1, w("head.weight"), w("head.bias"));
}
