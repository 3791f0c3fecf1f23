"""Assignment 5: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("(-int(a), -int(b))", "(int(a), int(b))"),
        ("pow(4)", "pow(2)"),
        ("x.double()", "x"),
        ("power.sum((1, 2, 4))", "power.sum((0, 1, 2, 4))[None].expand(B, -1, -1)"),  # one anchor
        ("best // q, best % q", "best // p, best % p"),
        ("view(B, C, H // p, p, W // q, q)\n    best = power.sum((1, 2, 4))",
         "view(B, C, p, H // p, q, W // q)\n    best = power.sum((1, 3, 5))"),  # blocks, no grid
    ],
    "q2": [
        ("shifts = [(a, b), (a + 1, b + 2), (a + 2, b + 4)]", "shifts = [(a, b)] * 3"),
        ("return sorted(map(tuple, cut.tolist()))", "return cut.tolist()"),  # demands an order
        ("if not all(is_roll(a[0], b[0]) for a, b in zip(first, x)):\n        return False", ""),
        ("for b in range(12):\n            # each", "for b in range(0, 12, 4):\n            # each"),
    ],
    "q3": [
        (".all(0).double()", ".any(0).double()"),
        (".mean(1).min()", ".mean(0).min()"),
        ("for a in range(p) for b in range(p)", "for a in range(p) for b in (a,)"),
        (".mean(1).min()", ".mean(1).mean()"),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def anchored(x, p, q):
    images, winners = [], []
    for image in x:
        scores = {(i, j): image[:, i::p, j::q].double().pow(4).sum().item()
                  for i in range(p) for j in range(q)}
        a, b = max(scores, key=lambda k: scores[k])
        winners.append((a, b))
        images.append(torch.roll(image, (-a, -b), dims=(-2, -1)))
    return torch.stack(images), torch.tensor(winners)
def undo(y, winners):
    return torch.stack([torch.roll(i, tuple(w), dims=(-2, -1)) for i, w in zip(y, winners.tolist())])
""",
        """
def gathered(x, shift):
    B, C, H, W = x.shape
    r = (torch.arange(H) + shift[:, :1]) % H
    c = (torch.arange(W) + shift[:, 1:]) % W
    return x[torch.arange(B)[:, None, None, None], torch.arange(C)[:, None, None], r[:, None, :, None], c[:, None, None, :]]
def anchored(x, p, q):
    e = (x.double() ** 2).square().sum(1)
    s = e.unflatten(2, (-1, q)).unflatten(1, (-1, p)).sum((1, 3)).flatten(1)
    w = torch.stack(torch.unravel_index(s.argmax(1), (p, q)), 1)
    return gathered(x, w), w
def undo(y, winners):
    return gathered(y, -winners)
""",
    ],
    "q2": [
        """
def keeps_the_promise(make):
    x = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    every = {tuple(x[n, 0].roll((a, b), (0, 1)).flatten().tolist()): n for n in (0, 1) for a in range(12) for b in range(12)}
    def patches(image):
        return frozenset(tuple(image[i:i + 4, j:j + 4].flatten().tolist()) for i in (0, 4, 8) for j in (0, 4, 8))
    seen = [set(), set()]
    for a in range(12):
        for b in range(12):
            z = torch.stack([x[0].roll((a, b), (1, 2)), x[1].roll((b, a + 1), (1, 2))])
            out = make(z)
            if out.shape != z.shape:
                return False
            for n in (0, 1):
                if every.get(tuple(out[n, 0].flatten().tolist())) != n:
                    return False
                seen[n].add(patches(out[n, 0]))
    return len(seen[0]) == len(seen[1]) == 1
""",
        """
def keeps_the_promise(make):
    x = torch.arange(2 * 144.0)[torch.randperm(288, generator=torch.Generator().manual_seed(2))].view(2, 1, 12, 12)
    def start(image, other):  # where other's first pixel went, or None
        at = (other == image[0, 0]).nonzero()
        if image.shape != other.shape or len(at) != 1:
            return None
        s = at[0].tolist()
        return s if torch.equal(other.roll((-s[0], -s[1]), (0, 1)), image) else None
    want = [None, None]
    for a in range(12):
        for b in range(12):
            moves = [(a, b), (b + 5, a + 2)]
            moved = torch.stack([i.roll(m, (1, 2)) for i, m in zip(x, moves)])
            for n, (image, m) in enumerate(zip(make(moved)[:, 0], moves)):
                s = start(image, x[n, 0])
                if s is None:
                    return False
                grid = (s[0] % 4, s[1] % 4)
                want[n] = want[n] or grid
                if grid != want[n]:
                    return False
    return True
""",
    ],
    "q3": [
        """
def always_right(model, x, y, p):
    good = torch.ones(len(y), dtype=torch.bool)
    for a in range(p):
        for b in range(p):
            good &= model(x.roll((a, b), (-2, -1))).argmax(-1).eq(y)
    return good.sum().item() / len(y)
def worst_shift(model, x, y, p):
    return min((model(x.roll((a, b), (-2, -1))).argmax(-1) == y).float().mean().item()
               for a in range(p) for b in range(p))
""",
        """
import numpy as np
def table(model, x, y, p):
    return np.array([[(model(torch.roll(torch.roll(x, a, 2), b, 3)).argmax(1) == y).tolist() for a in range(p)] for b in range(p)]).reshape(p * p, -1)
def always_right(model, x, y, p):
    return float(table(model, x, y, p).min(0).mean())
def worst_shift(model, x, y, p):
    return float(table(model, x, y, p).mean(1).min())
""",
    ],
}
