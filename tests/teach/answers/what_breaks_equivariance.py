"""Assignment 3: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("v.square().sum(-1, keepdim=True)", "v.square()"),  # coordinate by coordinate
        ("zero = squares == 0", "zero = squares < 0"),  # NaN where a vector is zero
        ("(length - b[:, None]).relu() / length", "(length - b[:, None]) / length"),
        ("length = torch.where(zero, torch.ones_like(squares), squares).sqrt()",
         "length = squares.sqrt()"),
        ("length = torch.where(zero, torch.ones_like(squares), squares).sqrt()",
         "length = (squares + 1e-3).sqrt()"),
    ],
    "q2": [
        ("for a in range(12):\n            for b in range(12):", "for a in (2, 4):\n            for b in (2, 4):"),
        ("for a in range(12):\n            for b in range(12):", "for a in range(12):\n            for b in (0,):"),
        ("allowed = 1e-4 * vary + 1e-6 * size", "allowed = 1e-4 * size"),  # an offset hides
        ("allowed = 1e-4 * vary + 1e-6 * size", "allowed = 1e-5"),  # a unit decides
        ("return False  # nothing is left but rounding", "return True"),
        ("module.training = False", "pass"),
    ],
    "q3": [
        ("x.roll(shift, (-2, -1))", "x.roll(shift, (-1, -2))"),
        ("moved = layer(x.roll(shift, (-2, -1)))", "z = layer(z) if index else layer(x.roll(shift, (-2, -1))); moved = z"),
        ("found.append(index)", "return [index]"),
        ("> 1e-4 * y.abs().max()", "> 1e9"),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def bend(v, b):
    tiny = torch.finfo(v.dtype).tiny
    n = v.abs().amax(-1, keepdim=True).detach().clamp(min=tiny)  # against under- and overflow
    u = v / n
    one = torch.tensor([1.0, 0, 0]).to(v)
    safe = torch.where((v == 0).all(-1, keepdim=True), one, u)
    length = safe.norm(dim=-1, keepdim=True) * n
    alive = (v != 0).any(-1, keepdim=True)
    return torch.where(alive, safe / safe.norm(dim=-1, keepdim=True), 0 * v) * (length - b[:, None]).clamp(min=0)
""",
        """
def bend(v, b):
    nonzero = (v != 0).any(-1)
    out = torch.zeros_like(v)
    w = v[nonzero]
    t = b.expand(v.shape[:2])[nonzero]
    length = torch.linalg.vector_norm(w, dim=-1)
    return out.index_put((nonzero,), w * ((length - t).relu() / length)[:, None])
""",
    ],
    "q2": [
        """
import copy
def moves_along(layer):
    net = copy.deepcopy(layer).eval() if isinstance(layer, nn.Module) else layer
    x = torch.rand(3, 2, 12, 12, generator=torch.Generator().manual_seed(9)) - 0.5
    with torch.no_grad():
        y = net(x)
        scale = (y - y.mean((0, 2, 3), keepdim=True)).abs().max()
        if scale <= 1e-5 * y.abs().max():
            return False
        for k in range(1, 144):
            s = (k // 12, k % 12)
            if (net(x.roll(s, (2, 3))).roll((-s[0], -s[1]), (2, 3)) - y).abs().max() > 1e-4 * scale + 1e-6 * y.abs().max():
                return False
    return True
""",
        """
def moves_along(layer):
    # shifts by one pixel generate all others
    states = [(m, m.training) for m in layer.modules()] if isinstance(layer, nn.Module) else []
    for m, _ in states:
        m.training = False
    x = torch.randn(8, 2, 12, 12, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        y = layer(x)
        down, right = layer(x.roll(1, 2)), layer(x.roll(1, 3))
    for m, t in states:
        m.training = t
    gap = max((down - y.roll(1, 2)).abs().max(), (right - y.roll(1, 3)).abs().max())
    spread = y.std()
    return bool(spread > 1e-5 * y.abs().max() and gap < 3e-4 * spread + 1e-6 * y.abs().max())
""",
    ],
    "q3": [
        """
def culprits(layers, x, shift):
    features = [x]
    for layer in layers:
        features.append(layer(features[-1]))
    roll = lambda t: torch.roll(t, shift, dims=(-2, -1))
    return [i for i, layer in enumerate(layers)
            if (layer(roll(features[i])) - roll(features[i + 1])).abs().max() > 1e-4 * features[i + 1].abs().max()]
""",
        """
def culprits(layers, x, shift, index=0):
    if index == len(layers):
        return []
    y = layers[index](x)
    back = layers[index](x.roll(shift, (2, 3))).roll((-shift[0], -shift[1]), (2, 3))
    own = [index] if (back - y).abs().max() > 1e-4 * y.abs().max() else []
    return own + culprits(layers, y, shift, index + 1)
""",
    ],
}
