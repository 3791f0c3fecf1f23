// A digit generated while it is turned: what the dial asks of its worker. Behind unet.js and moves.js.

// A question { network, image, turns, after }: degrees before each step, and of the finished image.
function answerer({ side: n, starts, networks, times, levels }) {
  const nets = networks.map(unpackNetwork);
  const plain = new Map(); // the chains without a turn
  return ({ network, image, turns, after }) => {
    const noise = () => Float64Array.from(starts.subarray(image * n * n, (image + 1) * n * n));
    const chain = (angles) => sampleChain(nets[network], noise(), n, times, levels, angles);
    const key = `${network} ${image}`;
    if (!plain.has(key)) plain.set(key, chain(times.map(() => 0)));
    const still = plain.get(key);
    const last = times.length - 1;
    const trace = turns.some(Boolean) ? chain(turns)
      : still.map((x, k) => (k === last && after ? idealRotate(x, n, after) : x));
    return { rest: still[last], trace, ...realizedAngle(still[last], trace[last], n) };
  };
}
