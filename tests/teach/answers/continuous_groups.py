"""Assignment 2: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("torch.kron(first.T.contiguous(), second.T.contiguous())",
         "torch.kron(first, torch.linalg.inv(second).T.contiguous())"),  # maps, not products
        ("torch.kron(first.T.contiguous(), second.T.contiguous())", "torch.kron(first, second)"),
        ("values < 1e-8", "values < 0.5"),
        (".reshape(-1, d, e)", ".reshape(-1, e, d)"),
    ],
    "q2": [
        ("if (law - steps).abs().max() > 0.02:", "if False:"),  # two moments only
        ("(angle - angle.sin()) / math.pi", "angle / math.pi"),  # even angles
        ("if R.mean(0).abs().max() > 0.02:", "if R.mean(0).abs().max() > 0.0002:"),  # chance
        ("1e-6 or (R.det() < 0).any():", "1e-6 or (R.det() > 0).all():"),
    ],
    "q3": [
        ("c * pair[0] + s * pair[1], c * pair[1] - s * pair[0]",
         "c * pair[0] - s * pair[1], c * pair[1] + s * pair[0]"),  # the other way
        ("math.cos(k * theta), math.sin(k * theta)", "math.cos(theta), math.sin(theta)"),
        ("c * pair[1] - s * pair[0]", "c * pair[1] + s * pair[0]"),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def invariant_products(a, b):
    d, e = a.shape[-1], b.shape[-1]
    G = torch.zeros(d * e, d * e)
    for p, q in zip(a, b):
        C = torch.stack([(p.T @ E.view(d, e) @ q).flatten() - E for E in torch.eye(d * e)], 1)
        G += C.T @ C
    values, vectors = torch.linalg.eigh(G)
    return vectors[:, values < 1e-14 * max(1, values.max())].T.reshape(-1, d, e)
""",
        """
import numpy as np
def invariant_products(a, b):
    n, d, e = len(a), a.shape[1], b.shape[1]
    C = np.einsum("nki,nlj->nijkl", a.numpy(), b.numpy()).reshape(n, d * e, d * e) - np.eye(d * e)
    _, s, vh = np.linalg.svd(C.reshape(-1, d * e), full_matrices=True)
    s = np.concatenate([s, np.zeros(d * e - len(s))])
    return torch.from_numpy(vh[s < 1e-8]).reshape(-1, d, e)
""",
    ],
    "q2": [
        """
def is_even(sample):
    R = sample(30_000, torch.Generator().manual_seed(11))
    if not torch.allclose(R @ R.mT, torch.eye(3), atol=1e-6) or (R.det() < 0).any():
        return False
    turn = random = torch.linalg.qr(torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(1))).Q
    for side in (lambda t: t @ R, lambda t: R @ t):
        for t in torch.cat([torch.eye(3)[None], turn * turn.det()[:, None, None].sign()]):
            S = side(t)
            cosine = (S.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
            theta = cosine.clamp(-1, 1).arccos()
            for edge in torch.linspace(0.1, 3.1, 40):
                share = (theta < edge).double().mean()
                if abs(share - (edge - edge.sin()) / math.pi) > 0.02:
                    return False
    return True
""",
        """
def is_even(sample):
    R = sample(50_000, torch.Generator().manual_seed(21))
    unit = (R.mT @ R - torch.eye(3)).abs().max() < 1e-6 and ((R.det() - 1).abs() < 1e-6).all()
    pairs = R[:25_000].mT @ R[25_000:]  # independent draws, compared
    t = torch.sort(((pairs.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()).values
    fit = ((t - t.sin()) / math.pi - torch.linspace(0, 1, len(t))).abs().max() < 0.02
    for t in (torch.eye(3), torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])):
        a = ((torch.einsum("ij,nij->n", t, R) - 1) / 2).clamp(-1, 1).acos().sort().values
        fit = fit and ((a - a.sin()) / math.pi - torch.linspace(0, 1, len(a))).abs().max() < 0.02
    for axis in range(3):  # each column lies evenly on the sphere: its heights are uniform
        for row in range(3):
            h = R[:, row, axis].sort().values
            fit = fit and (h - torch.linspace(-1, 1, len(h))).abs().max() < 0.04
    return bool(unit and fit)
""",
    ],
    "q3": [
        """
def steered(pair, k, theta):
    z = torch.complex(pair[0], pair[1]) * torch.exp(torch.tensor(-1j * k * theta))
    return torch.stack([z.real, z.imag])
""",
        """
def steered(pair, k, theta):
    t = torch.tensor(k * theta)
    M = torch.stack([torch.stack([t.cos(), t.sin()]), torch.stack([-t.sin(), t.cos()])])
    return torch.einsum("ij,jhw->ihw", M.to(pair), pair)
""",
    ],
}
