"""PointNet, which has to learn every pose, and rotations to learn them from."""

import math

import torch
from torch import Tensor, nn

from equitutor import actions, groups
from equitutor.checks import check_clouds, check_count, check_generator
from equitutor.rotations import rotation_matrix


class PointNet(nn.Module):
    """One network for each point, the maximum over points, and a network behind it.

    Args:
        classes: number of logits.
        width: channels of the first layer; the next have 2 and 4 times as many.

    Raises ValueError where an argument or the cloud's shape does not fit.

    Source: PointNet (Qi et al. 2017), without its transform networks.

    >>> PointNet()(torch.randn(2, 128, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8, width: int = 32):
        super().__init__()
        check_count("classes", classes, 2)
        check_count("width", width)
        self.local = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(inplace=True),
            nn.Linear(width, 2 * width), nn.ReLU(inplace=True),
            nn.Linear(2 * width, 4 * width),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(4 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, classes)
        )

    def forward(self, points: Tensor) -> Tensor:
        check_clouds(points)
        x = points - points.mean(1, keepdim=True)
        # ReLU is monotone: after the maximum it gives what it would give before, in less time.
        return self.head(self.local(x).amax(1))


def rotate_haar(points: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each cloud (B, N, 3) turned by a rotation of its own, all of SO(3) equally likely.

    >>> cloud = torch.randn(2, 5, 3)
    >>> turned = rotate_haar(cloud, torch.Generator().manual_seed(0))
    >>> torch.allclose(turned.norm(dim=-1), cloud.norm(dim=-1), atol=1e-6)
    True
    """
    check_clouds(points)
    check_generator(generator)
    return actions.rotate_points(points, groups.haar_so3(len(points), generator))


def rotate_z(points: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each cloud (B, N, 3) turned about the vertical, z, by a random angle of its own.

    >>> cloud = torch.randn(2, 5, 3)
    >>> torch.equal(rotate_z(cloud, torch.Generator())[..., 2], cloud[..., 2])
    True
    """
    check_clouds(points)
    check_generator(generator)
    angle = 2 * math.pi * torch.rand(len(points), generator=generator, dtype=torch.float64)
    vertical = torch.tensor([[0.0, 0.0, 1.0]]).expand(len(points), 3)
    return actions.rotate_points(points, rotation_matrix(vertical, angle))
