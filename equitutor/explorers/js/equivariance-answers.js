// Denoisers whose input moves: what that explorer asks of its worker. Behind unet.js and moves.js.

// A question { network, image, level, dy, dx, angle } is answered by g x, f(g x), g f(x) and how
// near the last two are, in dB.
function answerer({ side: n, noisy, images, networks, times, levels }) {
  const nets = networks.map(unpackNetwork);
  const mask = discMask(n);
  const still = new Map(); // f(x) of each network, image and level
  return ({ network, image, level, dy, dx, angle }) => {
    const move = (x) => {
      const y = angle ? idealRotate(x, n, angle) : x;
      return dy || dx ? idealShift(y, n, dy, dx) : y;
    };
    const clean = (x) => denoise(nets[network], x, times[level], levels[level], 1.5).clean;
    const at = (level * images + image) * n * n;
    const x = Float64Array.from(noisy.subarray(at, at + n * n));
    const key = `${network} ${image} ${level}`;
    if (!still.has(key)) still.set(key, clean(x));
    const moved = move(x);
    const [first, then] = [clean(moved), move(still.get(key))];
    return { moved, first, then, dB: decibels(first, then, angle ? mask : null) };
  };
}
