"""A body: parts on a tree, shape modes, and skinning that turns each part about its joint."""

import torch
from torch import Tensor

from equitutor.methods.icosahedral import ExactConstants


class Body(ExactConstants):
    """A surface that a skeleton carries: ``body(beta, rotations) -> vertices, joints``.

        v' = sum_p w_p(v) [R_p (v - h_p) + j_p],   j_p = j_par + R_par (h_p - h_par)

    R_p is the rotation of part p in the world, relative to rest. The root joint stays where it is
    at rest. Parents come before their children.

    Args:
        names: part names, P of them.
        parents: index of each part's parent, -1 for the root, which is part 0.
        template: rest vertices at beta = 0, (V, 3), meters.
        shape_modes: how vertices move with beta, (K, V, 3).
        joints: rest joints at beta = 0, (P, 3).
        joint_modes: how joints move with beta, (K, P, 3).
        weights: how much each vertex follows each part, (V, P), >= 0, rows sum to 1.
        faces: triangles, (F, 3), int64.

    Raises:
        ValueError: a shape does not fit, the parents are no tree in order, or weights are no
            weights.

    Source: linear blend skinning as in Loper et al., SMPL, 2015, without pose correctives.

    >>> from equitutor.methods.articulated import toy_body
    >>> body = toy_body()
    >>> vertices, joints = body(torch.zeros(2, 3), torch.eye(3).expand(2, 6, 3, 3))
    >>> vertices.shape[2], joints.shape
    (3, torch.Size([2, 6, 3]))
    """

    def __init__(
        self,
        names: tuple[str, ...],
        parents: tuple[int, ...],
        template: Tensor,
        shape_modes: Tensor,
        joints: Tensor,
        joint_modes: Tensor,
        weights: Tensor,
        faces: Tensor,
    ):
        super().__init__()
        p, v, k = len(names), len(template), len(shape_modes)
        check_tree(parents)
        if len(parents) != p:
            raise ValueError(f"parents is {parents}; need one for each of {p} parts")
        wanted = {
            "template": (template, (v, 3)),
            "shape_modes": (shape_modes, (k, v, 3)),
            "joints": (joints, (p, 3)),
            "joint_modes": (joint_modes, (k, p, 3)),
            "weights": (weights, (v, p)),
            "faces": (faces, (len(faces), 3)),
        }
        for name, (value, shape) in wanted.items():
            if value.shape != shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}; need {shape}")
        if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < v:
            raise ValueError(f"faces has indices outside 0..{v - 1}; need those of vertices")
        if weights.min() < 0 or (weights.sum(1) - 1).abs().max() > 1e-5:
            raise ValueError("weights has a row that is negative or does not sum to 1")
        self.names, self.parents = tuple(names), tuple(parents)
        # Rounding of stored weights must not scale the body.
        weights = weights.double() / weights.double().sum(1, keepdim=True)
        self.add_constant("weights", weights)
        for name in ("template", "shape_modes", "joints", "joint_modes"):
            self.add_constant(name, wanted[name][0].double().contiguous())
        self.register_buffer("faces", faces, persistent=False)

    @property
    def n_parts(self) -> int:
        """The number of parts, P."""
        return len(self.names)

    @property
    def n_shape(self) -> int:
        """The number of shape coefficients, K."""
        return len(self.shape_modes)

    @property
    def labels(self) -> Tensor:
        """The part that each vertex follows most, (V,), int64."""
        return self.weights.argmax(1)

    @property
    def directions(self) -> Tensor:
        """Where each part points at rest, (P, 3), meters.

        From its joint to the mean of its children's joints; for a part at the end of a limb, to
        the middle of the vertices that follow it.
        """
        ends = []
        for p in range(self.n_parts):
            children = [q for q, parent in enumerate(self.parents) if parent == p]
            own = self.weights[:, p]
            end = self.joints[children].mean(0) if children else own @ self.template / own.sum()
            ends.append(end - self.joints[p])
        return torch.stack(ends)

    def rest(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Returns rest vertices (B, V, 3) and rest joints (B, P, 3) for beta (B, K).

        Raises:
            ValueError: beta has another shape.
        """
        if beta.ndim != 2 or beta.shape[1] != self.n_shape:
            raise ValueError(f"beta has shape {tuple(beta.shape)}; need (B, {self.n_shape})")
        vertices = self.template + torch.einsum("bk,kvi->bvi", beta, self.shape_modes)
        joints = self.joints + torch.einsum("bk,kpi->bpi", beta, self.joint_modes)
        return vertices, joints

    def forward(self, beta: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Returns posed vertices (B, V, 3) and posed joints (B, P, 3).

        Args:
            beta: shape coefficients (B, K).
            rotations: of each part in the world, relative to rest, (B, P, 3, 3).

        Raises:
            ValueError: a shape does not fit.
        """
        vertices, joints = self.rest(beta)
        want = (len(beta), self.n_parts, 3, 3)
        if rotations.shape != want:
            raise ValueError(f"rotations has shape {tuple(rotations.shape)}; need {want}")
        posed = posed_joints(joints, rotations, self.parents)
        return skin(vertices, joints, posed, rotations, self.weights), posed


def check_tree(parents: tuple[int, ...]) -> None:
    """Returns nothing; raises ValueError unless parents come before their children."""
    if not parents or parents[0] != -1 or any(
        not 0 <= q < i for i, q in enumerate(parents[1:], 1)
    ):  # fmt: skip
        raise ValueError(f"parents is {parents}; need -1 and then, for each part, an earlier one")


def posed_joints(joints: Tensor, rotations: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Returns joints (B, P, 3) after each bone followed its parent's rotation; the root stays.

    Args:
        joints: at rest, (B, P, 3). rotations: in the world, (B, P, 3, 3).
        parents: index of each part's parent, -1 for the root.

    >>> rest = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> posed_joints(rest, quarter.expand(1, 2, 3, 3), (-1, 0))[0, 1]
    tensor([0., 1., 0.])
    """
    posed = [joints[:, 0]]
    for p, parent in enumerate(parents[1:], 1):
        bone = (joints[:, p] - joints[:, parent])[..., None]
        posed.append(posed[parent] + (rotations[:, parent] @ bone)[..., 0])
    return torch.stack(posed, 1)


def skin(
    vertices: Tensor, joints: Tensor, posed: Tensor, rotations: Tensor, weights: Tensor
) -> Tensor:
    """Returns vertices (B, V, 3) that follow their parts: the sum over p in `Body`.

    Args:
        vertices: at rest, (B, V, 3). joints, posed: rest and posed joints, (B, P, 3).
        rotations: (B, P, 3, 3). weights: (V, P).

    >>> joint = torch.zeros(1, 1, 3)
    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])[None, None]
    >>> skin(torch.tensor([[[1.0, 0, 0]]]), joint, joint, quarter, torch.ones(1, 1))
    tensor([[[0., 1., 0.]]])
    """
    moves = posed - (rotations @ joints[..., None])[..., 0]  # R_p v + (j_p - R_p h_p)
    turn = torch.einsum("vp,bpij->bvij", weights, rotations)
    return (turn @ vertices[..., None])[..., 0] + weights @ moves


def _check_rotations(name: str, value: Tensor, parents: tuple[int, ...]) -> None:
    if value.ndim != 4 or value.shape[1:] != (len(parents), 3, 3):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; need (B, {len(parents)}, 3, 3)")


def local_to_world(local: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Returns rotations in the world (B, P, 3, 3) of rotations relative to the parent.

    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> local_to_world(quarter.expand(1, 2, 3, 3), (-1, 0))[0, 1].diagonal()
    tensor([-1., -1.,  1.])
    """
    _check_rotations("local", local, parents)
    world = [local[:, 0]]
    for p, parent in enumerate(parents[1:], 1):
        world.append(world[parent] @ local[:, p])
    return torch.stack(world, 1)


def world_to_local(world: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Returns rotations relative to the parent, R_par^T R, (B, P, 3, 3); the root's as it is.

    >>> eye = torch.eye(3).expand(1, 2, 3, 3)
    >>> torch.equal(world_to_local(eye, (-1, 0)), eye)
    True
    """
    _check_rotations("world", world, parents)
    local = world[:, list(parents[1:])].mT @ world[:, 1:]
    return torch.cat([world[:, :1], local], 1)
