"""Assignment 8: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("sign[..., 2] = (U @ Vh).det()", "pass"),  # reflections
        ("sign[..., 2] =", "sign[..., 0] ="),  # a rotation, and not the closest
        ("U @ (sign[..., None] * Vh)", "(U @ (sign[..., None] * Vh)).mT"),
        ("U @ (sign[..., None] * Vh)", "M / M.det().abs()[..., None, None] ** (1 / 3)"),
        ("U @ (sign[..., None] * Vh)", "(U @ Vh).det()[..., None, None] * (U @ Vh)"),
    ],
    "q2": [
        ("(x @ turn.T, turn @ R),", "(x @ turn.T, R @ turn),"),
        ("(x[order], R),", ""),
        ("(x + torch.randn(3, generator=g), R),", ""),
        ("[*random_rotations(12, 8), *elements[1:5]]", "[*elements[1:15]]"),
        ("if (R @ R.T - torch.eye(3)).abs().max() > 1e-6 or R.det() < 0:\n            return False", ""),
        ("(R @ R.T - torch.eye(3)).abs().max() > 1e-6 or R.det() < 0", "R.det() < 0"),
    ],
    "q3": [
        ("world[parent] @ local[part]", "local[part] @ world[parent]"),
        ("world[parent] @ local[part]", "local[parent] @ local[part]"),
        ("torch.rad2deg(torch.atan2(sine, cosine))", "torch.rad2deg(cosine.clamp(-1, 1).arccos())"),
        ("torch.rad2deg(torch.atan2(sine, cosine))", "torch.rad2deg(sine.clamp(max=1).asin())"),
        ("torch.rad2deg(torch.atan2(sine, cosine))", "torch.atan2(sine, cosine)"),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def rotation_mean(w, R):
    # by quaternions: the largest eigenvector of Davenport's matrix
    M = (w @ R.flatten(1)).unflatten(-1, (3, 3))
    K = torch.zeros(*M.shape[:-2], 4, 4)
    t = M.diagonal(dim1=-2, dim2=-1).sum(-1)
    K[..., 0, 0] = t
    v = torch.stack([M[..., 2, 1] - M[..., 1, 2], M[..., 0, 2] - M[..., 2, 0], M[..., 1, 0] - M[..., 0, 1]], -1)
    K[..., 0, 1:] = K[..., 1:, 0] = v
    K[..., 1:, 1:] = M + M.mT - t[..., None, None] * torch.eye(3)
    a, b, c, d = torch.linalg.eigh(K).eigenvectors[..., -1].unbind(-1)
    return torch.stack([a*a+b*b-c*c-d*d, 2*(b*c-a*d), 2*(b*d+a*c), 2*(b*c+a*d), a*a-b*b+c*c-d*d, 2*(c*d-a*b),
                        2*(b*d-a*c), 2*(c*d+a*b), a*a-b*b-c*c+d*d], -1).unflatten(-1, (3, 3))
""",
        """
import numpy as np
def rotation_mean(w, R):
    M = np.tensordot(w.numpy(), R.numpy(), axes=1)
    u, s, vh = np.linalg.svd(M)
    u[..., :, 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vh))[..., None]
    return torch.from_numpy(u @ vh)
""",
    ],
    "q2": [
        """
def is_good_head(head):
    near = lambda A, B: bool(torch.allclose(A, B, atol=1e-6, rtol=0))
    g = torch.Generator().manual_seed(99)
    for turn in random_rotations(25, 100):
        x = torch.rand(30, 3, generator=g) ** 2 * torch.tensor([3.0, 1.0, 2.0])
        R = head(x)
        moved = (x @ turn.T + torch.tensor([5.0, -3, 1]))[torch.randperm(30, generator=g)]
        if not (near(head(moved), turn @ R) and near(R.T @ R, torch.eye(3)) and near(torch.linalg.det(R), torch.tensor(1.0))):
            return False
    return True
""",
        """
def is_good_head(head):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(3)).exp() - 1
    fine, R = True, head(x)
    fine &= abs(R.det() - 1) < 1e-6 and (R.T @ R - torch.eye(3)).norm() < 1e-6
    for k, turn in enumerate(random_rotations(30, 4)):
        fine &= (head(x @ turn.T) - turn @ R).norm() < 1e-6
        fine &= (head(x.roll(k + 1, 0)) - R).norm() < 1e-6 and (head(x.flip(0)) - R).norm() < 1e-6
        fine &= (head(x + k - 7.0) - R).norm() < 1e-6
    return bool(fine)
""",
    ],
    "q3": [
        """
def to_world(local, parents):
    world = local.clone()
    for p in range(1, len(parents)):
        world[p] = world[parents[p]] @ local[p]
    return world
def angle(R, S):
    T = R.mT @ S
    chord = (R - S).square().sum((-2, -1)).sqrt() / 8**0.5  # sin(theta / 2)
    sine = torch.linalg.matrix_norm(T - T.mT) / 8**0.5
    small = 2 * chord.clamp(max=1).asin()
    return torch.where(chord < 0.7, small, math.pi - sine.clamp(max=1).asin() if (chord > 0.9).all() else small) / math.pi * 180
""",
        """
def to_world(local, parents):
    def up(p):
        return local[p] if parents[p] == -1 else up(parents[p]) @ local[p]
    return torch.stack([up(p) for p in range(len(parents))])
def angle(R, S):
    T = R.transpose(-1, -2) @ S
    axis = torch.stack([T[..., 2, 1] - T[..., 1, 2], T[..., 0, 2] - T[..., 2, 0], T[..., 1, 0] - T[..., 0, 1]], -1)
    return torch.atan2(axis.norm(dim=-1), torch.einsum("...ii->...", T) - 1) * (180 / math.pi)
""",
    ],
}
