"""Assignment 1: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("tuple(move[k] for k in element)", "tuple(move[k] for k in move)"),  # squares only
        ("tuple(a[k] for k in b)", "tuple(b[k] for k in a)"),  # the other order
        ("for element in elements:  #", "for element in elements[:1]:  #"),  # the moves alone
        ("elements = [tuple(range(len(moves[0])))]", "elements = [tuple(moves[0])]"),
    ],
    "q2": [
        ("same(twice, act(x, mul[b][a]))", "same(twice, act(x, mul[a][b]))"),
        ("left = right = same(act(x, 0), x)", "left = right = True"),  # a projection passes
        ("for b in elements:", "for b in [0]:"),
        ("< 1e-5", "== 0"),
        ("y.shape == z.shape and ", ""),
        ("act(act(x, b), a)", "act(act(x, a), b)"),  # sides exchanged
    ],
    "q3": [
        ("w.flip(-1).flip(2)", "w.flip(-1)"),  # the copies do not trade places
        ("w.flip(-1).flip(2)", "w.flip(2)"),
        ("(w, w.flip(-1))", "(w, w)"),
        ("w.flip(-1).flip(2)", "w.flip(-2).flip(2)"),  # upside down
    ],
}
RIGHT = {
    "q1": [
        """
def generated(moves):
    identity = tuple(range(len(moves[0])))
    found, new = {identity}, {identity}
    while new:
        new = {tuple(p[m[k]] for k in identity) for p in new for m in moves} - found
        found |= new
    elements = [identity] + sorted(found - {identity})
    return elements, [[elements.index(tuple(p[k] for k in q)) for q in elements] for p in elements]
""",
        """
import itertools
def generated(moves):
    n, known = len(moves[0]), []
    def times(p, q):
        return tuple(map(p.__getitem__, q))
    def visit(p):
        if p not in known:
            known.append(p)
            for m in moves:
                visit(times(tuple(m), p))
    import sys
    sys.setrecursionlimit(10000)
    visit(tuple(range(n)))
    table = [[0] * len(known) for _ in known]
    for (a, p), (b, q) in itertools.product(enumerate(known), repeat=2):
        table[a][b] = known.index(times(p, q))
    return known, table
""",
    ],
    "q2": [
        """
def kind(act, mul, x):
    def holds(table):
        for a, row in enumerate(table):
            for b, c in enumerate(row):
                one, two = act(act(x, b), a), act(x, c)
                if one.shape != two.shape or not torch.allclose(one, two, rtol=0, atol=1e-5):
                    return False
        start = act(x, 0)
        return start.shape == x.shape and torch.allclose(start, x, rtol=0, atol=1e-5)
    sides = [holds(mul), holds([list(column) for column in zip(*mul)])]
    return ["neither", "right", "left", "both"][2 * sides[0] + sides[1]]
""",
        """
import numpy as np
def kind(act, mul, x):
    n = len(mul)
    once = [np.asarray(act(x, a)) for a in range(n)]
    def near(y, z):
        y, z = np.asarray(y), np.asarray(z)
        return y.shape == z.shape and np.abs(y - z).max() < 1e-5
    if not near(once[0], x):
        return "neither"
    ok = {"left": True, "right": True}
    for a in range(n):
        for b in range(n):
            y = act(act(x, a), b)
            ok["right"] &= bool(near(y, once[mul[a][b]]))
            ok["left"] &= bool(near(y, once[mul[b][a]]))
    return "both" if all(ok.values()) else next((k for k in ok if ok[k]), "neither")
""",
    ],
    "q3": [
        """
def lift(x, w):
    y = F.conv2d(x, torch.cat([w, w.flip(3)]), padding=w.shape[3] // 2)
    return y.unflatten(1, (2, len(w))).transpose(1, 2)
def mix(y, w):
    def first(y):
        return F.conv2d(y.flatten(1, 2), w.flatten(1, 2), padding=w.shape[-1] // 2)
    return torch.stack([first(y), first(y.flip(-1, 2)).flip(-1)], 2)  # by symmetry
""",
        """
def lift(x, w):
    p = w.shape[-1] // 2
    return torch.stack([F.conv2d(x, w, padding=p), F.conv2d(x.flip(3), w, padding=p).flip(3)], dim=2)
def mix(y, w):
    p, out = w.shape[-1] // 2, []
    for s in (0, 1):
        total = 0
        for t in (0, 1):
            v = w[:, :, t] if s == 0 else w[:, :, 1 - t].flip(-1)
            total = total + F.conv2d(y[:, :, t], v, padding=p)
        out.append(total)
    return torch.stack(out, 2)
""",
    ],
}
