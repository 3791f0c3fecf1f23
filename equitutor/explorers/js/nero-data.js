// Numbers of the NERO explorer: what the payload holds, and what the views show of it.

const MISSING = -32768;

const bufferOf = (text) => {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes.buffer;
};

// Scores (G, N), row g column n, with NaN where one is missing.
const decodeScores = (text, decimals) =>
  Float32Array.from(new Int16Array(bufferOf(text)), (v) =>
    v === MISSING ? NaN : v * 10 ** -decimals);

const writeScore = (value, decimals) => {
  if (Number.isNaN(value)) return "missing";
  const text = decimals > 4 ? value.toPrecision(3) : value.toFixed(Math.max(decimals, 0));
  return text.replace("-", "−");
};

// Quantile of sorted numbers, linear between neighbors, as NumPy's.
function quantile(sorted, q) {
  if (!sorted.length) return NaN;
  const at = q * (sorted.length - 1);
  const k = Math.floor(at);
  return sorted[k] + (at - k) * ((sorted[k + 1] ?? sorted[k]) - sorted[k]);
}

// Over the samples `members`, for each element: the mean and the quartiles.
function aggregate(scores, members, G, N) {
  const result = { mean: [], low: [], high: [] };
  for (let g = 0; g < G; g++) {
    const present = [];
    for (const n of members) {
      const value = scores[g * N + n];
      if (!Number.isNaN(value)) present.push(value);
    }
    const sorted = Float32Array.from(present).sort();
    result.mean.push(present.length ? sorted.reduce((a, b) => a + b, 0) / sorted.length : NaN);
    result.low.push(quantile(sorted, 0.25));
    result.high.push(quantile(sorted, 0.75));
  }
  return result;
}

// Along the orbit of each sample: weighted mean and spread, the worst element and its score.
function alongOrbits(scores, weights, higher, G, N) {
  const made = { mean: [], spread: [], element: [], worst: [] };
  for (let n = 0; n < N; n++) {
    let [total, sum, square, element, worst] = [0, 0, 0, 0, NaN];
    for (let g = 0; g < G; g++) {
      const value = scores[g * N + n];
      if (Number.isNaN(value)) continue;
      total += weights[g];
      sum += weights[g] * value;
      if (Number.isNaN(worst) || (higher ? value < worst : value > worst)) {
        [element, worst] = [g, value];
      }
    }
    const mean = sum / total;
    for (let g = 0; g < G; g++) {
      const value = scores[g * N + n];
      if (!Number.isNaN(value)) square += weights[g] * (value - mean) ** 2;
    }
    made.mean.push(mean);
    made.spread.push(Math.sqrt(square / total));
    made.element.push(element);
    made.worst.push(worst);
  }
  return made;
}

// Samples from the worst to the best: by the worst score along the orbit, then by the mean.
function worstFirst(orbits, members, higher) {
  const bad = (v) => (Number.isNaN(v) ? -Infinity : higher ? -v : v);
  return [...members].sort((a, b) =>
    bad(orbits.worst[b]) - bad(orbits.worst[a])
    || bad(orbits.mean[b]) - bad(orbits.mean[a]) || a - b);
}

function makeNumbers(data) {
  const { samples: N, elements: G } = data;
  const everyone = Array.from({ length: N }, (_, n) => n);
  const { weights } = data.orbit;
  const series = data.series.map((one) => {
    const scores = one.models.map((model) => decodeScores(model.scores, one.decimals));
    return {
      ...one,
      scores,
      maps: one.models.map((model) => model.maps),
      orbits: scores.map((s) => alongOrbits(s, weights, one.higher, G, N)),
      aggregates: new Map(),
    };
  });
  return {
    series,
    find: (metric, reference) => {
      const own = series.filter((s) => s.metric === metric);
      return own.find((s) => s.reference === reference) ?? own[0];
    },
    members: (label) =>
      label === "" ? everyone : everyone.filter((n) => data.labels[n] === Number(label)),
    // One for each model; kept, since a click on a menu must not compute it again.
    aggregates(one, label) {
      if (!one.aggregates.has(label)) {
        const members = this.members(label);
        one.aggregates.set(label, one.scores.map((s) => aggregate(s, members, G, N)));
      }
      return one.aggregates.get(label);
    },
    column: (scores, n) => Array.from({ length: G }, (_, g) => scores[g * N + n]),
    // Where to begin: the sample and the element where the models, or the elements, differ most.
    telling(one) {
      const [a, b] = one.scores;
      const gap = (g, n) => {
        const value = b ? b[g * N + n] - a[g * N + n] : one.orbits[0].mean[n] - a[g * N + n];
        return Number.isNaN(value) ? 0 : one.higher ? value : -value;
      };
      const sums = everyone.map((n) => {
        let sum = 0;
        for (let g = 0; g < G; g++) sum += Math.max(gap(g, n), 0);
        return sum;
      });
      const sample = sums.indexOf(Math.max(...sums));
      const gaps = Array.from({ length: G }, (_, g) => gap(g, sample));
      return { sample, element: gaps.indexOf(Math.max(...gaps)) };
    },
  };
}
