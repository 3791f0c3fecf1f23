// Rotations and a skinned body. Matrices are arrays of 9, row-major.

const multiply = (a, b) =>
  Float64Array.from({ length: 9 }, (_, k) => {
    const [i, j] = [Math.floor(k / 3) * 3, k % 3];
    return a[i] * b[j] + a[i + 1] * b[j + 3] + a[i + 2] * b[j + 6];
  });
const apply = (m, x, y, z) => [
  m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z,
];
const transposed = (m) => [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
const nine = (array, p) => array.subarray(9 * p, 9 * p + 9);

// The turn about an axis of any length, by an angle in radians.
function rotationAbout([x, y, z], angle) {
  const n = Math.hypot(x, y, z);
  [x, y, z] = [x / n, y / n, z / n];
  const [c, s, d] = [Math.cos(angle), Math.sin(angle), 1 - Math.cos(angle)];
  return Float64Array.of(
    c + x * x * d, x * y * d - z * s, x * z * d + y * s, y * x * d + z * s, c + y * y * d,
    y * z * d - x * s, z * x * d - y * s, z * y * d + x * s, c + z * z * d,
  );
}

// Whole numbers below 65,536, packed as base64.
const whole = (text) => new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

// Elements to full precision: icosahedral entries are known, and float32 would show in the curve.
function exactElements(elements) {
  const golden = (1 + Math.sqrt(5)) / 2;
  const known = [0, 0.5, 1, golden / 2, 1 / (2 * golden)];
  return Float64Array.from(elements, (v) => {
    const near = known.find((k) => Math.abs(Math.abs(v) - k) < 1e-5);
    return near === undefined ? v : Math.sign(v) * near;
  });
}

const skewOf = (m) => [m[7] - m[5], m[2] - m[6], m[3] - m[1]];

// The angle of a^T b in radians, accurate near 0 and near pi.
function angleBetween(a, b) {
  const r = multiply(transposed(a), b);
  return Math.atan2(Math.hypot(...skewOf(r)), r[0] + r[4] + r[8] - 1);
}

// Axis times angle of a rotation.
function rotationVector(m) {
  const angle = Math.atan2(Math.hypot(...skewOf(m)), m[0] + m[4] + m[8] - 1);
  if (angle < 1e-9) return [0, 0, 0];
  let axis = skewOf(m);
  if (angle > 3.1) { // the skew part vanishes near half turns: the rest is (1 - cos) a a^T
    const cos = (m[0] + m[4] + m[8] - 1) / 2;
    const column = (j) => [0, 1, 2].map((i) => (m[3 * i + j] + m[3 * j + i]) / 2 - (i === j) * cos);
    const best = [0, 1, 2].map(column).sort((a, b) => Math.hypot(...b) - Math.hypot(...a))[0];
    const sign = Math.sign(best.reduce((sum, v, i) => sum + v * axis[i], 0)) || 1;
    axis = best.map((v) => sign * v);
  }
  const n = Math.hypot(...axis);
  return axis.map((v) => (v / n) * angle);
}

// The rotation nearest to a matrix: the best quaternion is an eigenvector of Horn's 4 x 4 matrix.
function projectSO3(m) {
  const s = [
    [m[0] + m[4] + m[8], m[7] - m[5], m[2] - m[6], m[3] - m[1]],
    [0, m[0] - m[4] - m[8], m[1] + m[3], m[2] + m[6]],
    [0, 0, m[4] - m[0] - m[8], m[5] + m[7]],
    [0, 0, 0, m[8] - m[0] - m[4]],
  ];
  for (let i = 0; i < 4; i++) for (let j = 0; j < i; j++) s[i][j] = s[j][i];
  const v = [0, 1, 2, 3].map((i) => [0, 1, 2, 3].map((j) => Number(i === j)));
  for (let sweep = 0; sweep < 30; sweep++)
    for (let p = 0; p < 3; p++)
      for (let q = p + 1; q < 4; q++) {
        if (Math.abs(s[p][q]) < 1e-300) continue;
        const angle = 0.5 * Math.atan2(2 * s[p][q], s[q][q] - s[p][p]);
        const [c, d] = [Math.cos(angle), Math.sin(angle)];
        for (let k = 0; k < 4; k++) [s[k][p], s[k][q]] = [c * s[k][p] - d * s[k][q], d * s[k][p] + c * s[k][q]];
        for (let k = 0; k < 4; k++) [s[p][k], s[q][k]] = [c * s[p][k] - d * s[q][k], d * s[p][k] + c * s[q][k]];
        for (let k = 0; k < 4; k++) [v[k][p], v[k][q]] = [c * v[k][p] - d * v[k][q], d * v[k][p] + c * v[k][q]];
      }
  const best = [0, 1, 2, 3].reduce((a, b) => (s[b][b] > s[a][a] ? b : a));
  const [w, x, y, z] = v.map((row) => row[best]);
  return Float64Array.of(
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  );
}

// Rotations in the world of a pose with some joints bent further, all turned by `turn`.
function worldRotations(body, pose, bends, turn) {
  const world = new Float64Array(pose.length);
  body.parents.forEach((parent, p) => {
    let local = nine(pose, p);
    for (const { part, axis, angle } of bends)
      if (part === p) local = multiply(local, rotationAbout(axis, angle));
    world.set(multiply(parent < 0 ? turn : nine(world, parent), local), 9 * p);
  });
  return world;
}

// Vertices (V, 3) of the body for rotations of its parts in the world; the root stays.
function skinned(body, world) {
  const { vertices, joints, parents, owners, shares } = body;
  const posed = new Float64Array(joints.length);
  const moves = parents.map((parent, p) => {
    const at = [0, 1, 2].map((d) => joints[3 * p + d]);
    if (parent < 0) posed.set(at, 3 * p);
    else {
      const bone = apply(nine(world, parent), ...at.map((v, d) => v - joints[3 * parent + d]));
      bone.forEach((v, d) => (posed[3 * p + d] = posed[3 * parent + d] + v));
    }
    return apply(nine(world, p), ...at).map((v, d) => posed[3 * p + d] - v);
  });
  const each = owners.length / (vertices.length / 3);
  const out = new Float64Array(vertices.length);
  for (let i = 0; i < vertices.length / 3; i++)
    for (let k = i * each; k < (i + 1) * each; k++) {
      if (!shares[k]) continue;
      const p = owners[k];
      apply(nine(world, p), vertices[3 * i], vertices[3 * i + 1], vertices[3 * i + 2]).forEach(
        (v, d) => (out[3 * i + d] += shares[k] * (v + moves[p][d])));
    }
  return out;
}

// Points (N, 3) that lie on faces: `corners` and `mix` hold three numbers each.
function surfacePoints(vertices, corners, mix) {
  const out = new Float64Array(corners.length);
  corners.forEach((v, k) => {
    for (let d = 0; d < 3; d++) out[3 * Math.floor(k / 3) + d] += mix[k] * vertices[3 * v + d];
  });
  return out;
}
