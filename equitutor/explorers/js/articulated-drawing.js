// Drawing in three dimensions, and what a canvas needs to know of its page.

// A camera that looks along +y from a little above; z is up. Returns [x, y, depth] in pixels.
function camera(canvas, middle, scale) {
  const [c, s] = [Math.cos(0.15), Math.sin(0.15)];
  const [w, h] = [canvas.width, canvas.height];
  return (x, y, z) => {
    const [a, b, e] = [x - middle[0], y - middle[1], z - middle[2]];
    return [w / 2 + a * scale * w, h / 2 - (e * c + b * s) * scale * w, b * c - e * s];
  };
}

// A shaded surface; `tone` maps the index of a face to [r, g, b].
function drawSurface(context, see, vertices, faces, tone) {
  const at = [];
  for (let i = 0; i < vertices.length; i += 3) at.push(see(vertices[i], vertices[i + 1], vertices[i + 2]));
  const order = [];
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [at[faces[f]], at[faces[f + 1]], at[faces[f + 2]]];
    const turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    if (turn < 0) order.push([a[2] + b[2] + c[2], f, a, b, c]); // the others face away
  }
  order.sort((p, q) => q[0] - p[0]);
  for (const [, f, a, b, c] of order) {
    const [u, v] = [[b[0] - a[0], b[1] - a[1], b[2] - a[2]], [c[0] - a[0], c[1] - a[1], c[2] - a[2]]];
    const size = context.canvas.width * 0.42; // depth is in meters, the rest in pixels
    const n = [u[1] * v[2] * size - u[2] * size * v[1], u[2] * size * v[0] - u[0] * v[2] * size, u[0] * v[1] - u[1] * v[0]];
    const light = Math.abs(0.35 * n[0] + 0.45 * n[1] + 0.82 * n[2]) / (Math.hypot(...n) || 1);
    const [r, g, bl] = tone(f / 3).map((k) => Math.round(k * (0.45 + 0.55 * light)));
    context.fillStyle = context.strokeStyle = `rgb(${r} ${g} ${bl})`;
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.lineTo(c[0], c[1]);
    context.closePath();
    context.fill();
    context.stroke();
  }
}

// Calls `paint` when the page changes between light and dark: a canvas keeps its old colors.
function followTheme(root, paint) {
  const again = () => root.isConnected && paint();
  const options = { attributes: true, attributeFilter: ["data-theme", "theme", "data-jp-theme-light"] };
  for (const node of [document.documentElement, document.body])
    new MutationObserver(again).observe(node, options);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}
