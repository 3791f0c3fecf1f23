// What two networks make of a scan: everything that the body explorer asks of its worker.
// Behind articulated-points.js, -layers, -nn and -body, whose functions it uses.

// Float16 numbers, packed as base64, as doubles.
function half(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Uint16Array(bytes.buffer), (b) => {
    const [sign, e, m] = [b >> 15 ? -1 : 1, (b >> 10) & 31, b & 1023];
    return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : (m / 1024) * 2 ** -14);
  });
}

const RIVALS = ["pointnet", "arteq"];

function prepare(data) {
  const { group, body } = data;
  const nets = {};
  for (const name of RIVALS) {
    const packed = data[name];
    const weights = {};
    for (const key of Object.keys(packed.weights)) weights[key] = half(packed.weights[key]);
    nets[name] = { config: packed.config, weights };
  }
  const elements = exactElements(group.elements);
  return {
    nets,
    group: { ...group, elements, order: elements.length / 9 },
    body: { ...body, faces: whole(body.faces), corners: whole(body.corners), owners: whole(body.owners) },
  };
}

// What a network says of a cloud, and how far it is from the truth.
function judge(name, nets, group, points, labels, world, parts) {
  const found = name === "arteq" ? arteqForward(nets.arteq, group, points) : pointnetForward(nets.pointnet, points);
  const rotations = new Float64Array(found.matrices.length);
  const angles = [];
  for (let p = 0; p < parts; p++) {
    rotations.set(projectSO3(nine(found.matrices, p)), 9 * p);
    angles.push((angleBetween(nine(world, p), nine(rotations, p)) * 180) / Math.PI);
  }
  const right = found.labels.reduce((sum, q, i) => sum + (q === labels[i]), 0) / labels.length;
  const { labels: told, weights } = found;
  return { labels: told, weights, rotations, angles, right, error: angles.reduce((a, b) => a + b, 0) / parts };
}

// A question { pose, axis, angle, bends }, in degrees, is answered by the scene and both answers.
function answerer(data) {
  const { nets, group, body } = prepare(data);
  const { names, poses, bends, axes, labels } = data;
  const parts = names.length;
  const radians = (v) => (v * Math.PI) / 180;

  // The predicted body where the points are: their mean, less that of the same points on it.
  function placed(guess, points) {
    const own = surfacePoints(guess, body.corners, body.mix);
    const move = [0, 0, 0];
    for (let i = 0; i < own.length; i++) move[i % 3] += (points[i] - own[i]) / (own.length / 3);
    return guess.map((v, i) => v + move[i % 3]);
  }
  return (asked) => {
    const turn = rotationAbout(axes[asked.axis].vector, radians(asked.angle));
    const bent = bends.map((b, k) => ({ ...b, angle: radians(asked.bends[k]) }));
    const pose = poses.subarray(9 * parts * asked.pose, 9 * parts * (asked.pose + 1));
    const world = worldRotations(body, pose, bent, turn);
    const vertices = skinned(body, world);
    const points = surfacePoints(vertices, body.corners, body.mix);
    const found = { world, vertices, points };
    for (const name of RIVALS) {
      const own = judge(name, nets, group, points, labels, world, parts);
      const guess = placed(skinned(body, own.rotations), points);
      const gaps = Float64Array.from({ length: guess.length / 3 }, (_, i) => Math.sqrt(apart(guess, i, vertices, i)));
      found[name] = { ...own, guess, gaps, gap: gaps.reduce((a, b) => a + b, 0) / gaps.length };
    }
    return found;
  };
}
