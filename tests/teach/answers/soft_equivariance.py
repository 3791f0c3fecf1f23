"""Assignment 6: wrong answers as changes of the solution, right ones in another style."""

VALUES = """            ratios.append(value.item() / rest.square().sum().item())
            if slope is None:
                return False
            if not torch.allclose(slope, 2 * ratios[-1] * rest):
                return False
        if ratios[0] <= 0 or max(ratios) > 1.0001 * min(ratios):
            return False
        inside = (P @ torch.randn(e * d, generator=g)).view(e, d)
        if abs(penalty(inside, P).item()) > 1e-9:
            return False
"""
GRADIENTS_ONLY = """            if slope is None:
                return False
            ratios.append((slope * rest).sum().item() / 2 / rest.square().sum().item())
            if not torch.allclose(slope, 2 * ratios[-1] * rest):
                return False
        if ratios[0] <= 0 or max(ratios) > 1.0001 * min(ratios):
            return False
"""
WRONG = {
    "q1": [
        ("right.T.contiguous()", "right"),  # W a^T instead of W a
        ("torch.kron(left.contiguous(), torch.eye(d))\n            - torch.kron(torch.eye(e), right.T.contiguous())",
         "torch.kron(torch.eye(d), left.contiguous())\n            - torch.kron(right.T.contiguous(), torch.eye(e))"),
        ("torch.eye(e * d) - vectors[:rank].T @ vectors[:rank]", "vectors[:rank].T @ vectors[:rank]"),
        ("[*zip(lie_b, lie_a), *zip(b, a)]", "[*zip(lie_b, lie_a)]"),
        ("[*zip(lie_b, lie_a), *zip(b, a)]", "[*zip(lie_a, lie_b), *zip(a, b)]"),
    ],
    "q2": [
        ("not torch.allclose(slope, 2 * ratios[-1] * rest)", "False"),
        ("ratios[0] <= 0 or max(ratios) > 1.0001 * min(ratios)", "False"),
        ("[(3, 3, 4), (2, 5, 1), (4, 2, 7), (3, 3, 0)]", "[(3, 3, 0)]"),
        (VALUES, GRADIENTS_ONLY),
    ],
    "q3": [
        ("(f(x @ p.T) - y @ q.T)", "(f(x @ p) - y @ q.T)"),
        ("(y - y.mean(0))", "y"),
        (".sqrt().item()", ".item()"),
        ("len(a) * ", ""),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def projector(lie_a, lie_b, a, b):
    d, e = a.shape[-1], b.shape[-1]
    basis = torch.eye(e * d).view(-1, e, d)
    off = [(L @ basis - basis @ R).flatten(1) for L, R in [*zip(lie_b, lie_a), *zip(b, a)]]
    if not off:
        return torch.eye(e * d)
    C = torch.cat(off, 1).T
    return torch.eye(e * d) - torch.linalg.pinv(C, rtol=1e-9) @ C
""",
        """
import numpy as np
def projector(lie_a, lie_b, a, b):
    d, e = a.shape[-1], b.shape[-1]
    G = np.zeros((e * d, e * d))
    for L, R in list(zip(torch.cat([lie_b, b]).numpy(), torch.cat([lie_a, a]).numpy())):
        C = np.kron(L, np.eye(d)) - np.kron(np.eye(e), R.T)
        G += C.T @ C
    values, vectors = np.linalg.eigh(G)
    keep = vectors[:, values < 1e-13 * max(1, values.max())]
    return torch.from_numpy(keep @ keep.T)
""",
    ],
    "q2": [
        """
def is_penalty(penalty):
    g = torch.Generator().manual_seed(1)
    for e, d, k in ((2, 2, 1), (3, 4, 5), (3, 4, 0), (5, 1, 2)):
        B = torch.linalg.qr(torch.randn(e * d, max(k, 1), generator=g)).Q[:, :k]
        P = B @ B.T
        pull = lambda W: torch.func.grad(lambda V: penalty(V, P))(W)
        W = torch.randn(e, d, generator=g)
        out = W - (P @ W.flatten()).view(e, d)
        c = penalty(W, P) / out.square().sum()
        if not c > 0 or not torch.allclose(pull(W), 2 * c * out, atol=1e-9):
            return False
        if not torch.allclose(penalty(3 * W, P), 9 * penalty(W, P)) or not torch.allclose(pull(3 * W), 3 * pull(W), atol=1e-9):
            return False
        if penalty(W - out, P).abs() > 1e-9:
            return False
    return True
""",
        """
def is_penalty(penalty):
    g = torch.Generator().manual_seed(2)
    for shape, rank in {(3, 2): 2, (2, 3): 3, (4, 4): 9}.items():
        n = shape[0] * shape[1]
        A = torch.randn(n, rank, generator=g)
        P = A @ torch.linalg.inv(A.T @ A) @ A.T
        ws = [torch.randn(*shape, generator=g) * s for s in (0.2, 1, 5)]
        factors = []
        for W in ws:
            W.requires_grad_(True)
            rest = ((torch.eye(n) - P) @ W.detach().flatten()).view(shape)
            value = penalty(W, P)
            value.backward()
            factors += [value.item() / rest.square().sum().item()]
            if W.grad is None or (W.grad - 2 * factors[0] * rest).abs().max() > 1e-6:
                return False
        if factors[0] <= 0 or max(factors) - min(factors) > 1e-6 * abs(factors[0]):
            return False
    return True
""",
    ],
    "q3": [
        """
import numpy as np
def function_error(f, x, a, b):
    y = f(x)
    per = [torch.linalg.norm(f(torch.einsum("ij,nj->ni", p, x)) - torch.einsum("ij,nj->ni", q, y)) ** 2 for p, q in zip(a, b)]
    return float(np.sqrt(np.mean([v.item() for v in per]) / float(((y - y.mean(dim=0)) ** 2).sum())))
""",
        """
def function_error(f, x, a, b):
    m, (N, d) = len(a), x.shape
    turned = f(torch.einsum("mij,nj->mni", a, x).reshape(m * N, d)).view(m, N, -1)
    y = f(x)
    off = turned - torch.einsum("mij,nj->mni", b, y)
    return (off.pow(2).sum() / m / y.var(0, correction=0).sum() / N).sqrt().item()
""",
    ],
}
