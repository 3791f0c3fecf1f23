"""Assignment 4: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("scores.mean(1).min()", "scores.mean(0).min()"),
        ("scores.min(0).values.mean()", "scores.min(1).values.mean()"),
        ("scores.min(0).values.mean()", "scores.min()"),
        ("correction=0", "correction=1"),
        ("360 * k / n)", "-360 * k / n)"),
        ("360 * k / n)", "360 * k / max(n - 1, 1))"),  # 360 degrees count twice
    ],
    "q2": [
        ("torch.stack([-up, right], 1)", "torch.stack([right, up], 1)"),
        ("torch.stack([-up, right], 1)", "torch.stack([up, -right], 1)"),
        ("for k in range(9):", "for k in range(2):"),
        ("for same in (k, k - 4, k - 12):", "for same in (k,):"),
        ("torch.rand(2, 2, 5, 5", "torch.rand(1, 2, 5, 5"),
    ],
    "q3": [
        (", -k) for k", ", k) for k"),  # turned on instead of back
        ("turn(model(torch.rot90(x, k, (2, 3))), -k)", "model(torch.rot90(x, k, (2, 3)))"),
        ("turn(model(torch.rot90(x, k, (2, 3))), -k)", "torch.rot90(model(torch.rot90(x, k, (2, 3))), -k, (2, 3))"),
        (".sum(2).mean((0, 2, 3))", ".mean((0, 2, 3, 4))"),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def walk(model, x, y, n):
    out = torch.zeros(n, len(y))
    with torch.no_grad():
        for k in range(n):
            p = torch.softmax(model(actions.rotate_images(x, k * (360 / n))), dim=-1)
            out[k] = p[torch.arange(len(y)), y]
    return out
def summary(scores):
    s = scores.double()
    spread = ((s - s.mean(0)) ** 2).mean(0).sqrt().mean()
    return {"mean": float(s.mean()), "worst element": float(s.mean(1).amin()),
            "worst sample": float(s.amin(0).mean()), "spread": float(spread)}
""",
        """
import numpy as np
def walk(model, x, y, n):
    with torch.no_grad():
        logs = [-torch.nn.functional.cross_entropy(model(actions.rotate_images(x, 360 / n * k)), y, reduction="none") for k in range(n)]
    return torch.stack(logs).exp()
def summary(scores):
    s = np.asarray(scores)
    return dict(zip(["mean", "worst element", "worst sample", "spread"],
                    map(float, [s.mean(), s.mean(1).min(), s.min(0).mean(), s.std(0).mean()])))
""",
    ],
    "q2": [
        """
def is_turn(turn):
    n = 3
    for row in range(n):
        for column in range(n):
            for channel in (0, 1):
                v = torch.zeros(2, 2, n, n)
                v[1, channel, row, column] = 1.0
                r, c, arrow = row, column, (1 - channel, channel)
                for k in range(8):
                    want = torch.zeros(2, 2, n, n)
                    want[1, 0, r, c], want[1, 1, r, c] = arrow
                    if not (torch.equal(turn(v, k) + 0, want + 0) and torch.equal(turn(v, k - 8) + 0, want + 0)):
                        return False
                    r, c, arrow = n - 1 - c, r, (-arrow[1], arrow[0])
    return True
""",
        """
def is_turn(turn):
    v = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    one = torch.stack([-torch.rot90(v[:, 1], 1, (1, 2)), torch.rot90(v[:, 0], 1, (1, 2))], 1)
    ok = torch.equal(turn(v, 1), one) and torch.equal(turn(v, 0), v)
    for a in range(-5, 6):
        for b in range(-5, 6):
            ok = ok and torch.equal(turn(turn(v, a), b), turn(v, a + b))
    return bool(ok)
""",
    ],
    "q3": [
        """
def agreement(model, x, turn):
    middle = sum(turn(model(torch.rot90(x, k, (2, 3))), 4 - k) for k in range(4)) / 4
    apart = torch.zeros(len(x))
    for k in range(4):
        d = turn(model(torch.rot90(x, k, (2, 3))), 4 - k) - middle
        apart += (d[:, 0] ** 2 + d[:, 1] ** 2).flatten(1).mean(1) / 4
    return middle, apart
""",
        """
def agreement(model, x, turn):
    v = torch.stack([turn(model(x.rot90(k, (-2, -1))), -k % 4) for k in range(4)], 1)
    return v.mean(1), v.var(1, correction=0).sum(1).mean((1, 2))
""",
    ],
}
