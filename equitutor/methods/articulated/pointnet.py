"""A network without symmetry for the same job: what equivariance is measured against."""

import torch
from torch import Tensor, nn

from equitutor.methods.articulated.network import Prediction, mlp
from equitutor.methods.icosahedral.points import check_count, check_points


class PointNet(nn.Module):
    """PointNet that labels points and regresses one matrix for each part, and the shape.

    It commutes with translations (the mean is subtracted) and permutations of the points, and
    with no rotation: that has to come from the data, as by turning every training scan at random.

    Args:
        n_parts: number of parts.
        n_shape: number of shape coefficients.
        width: channels of the feature of the whole cloud.

    Source: Qi et al., PointNet, CVPR 2017, without its transform networks.

    >>> out = PointNet(6, 3)(torch.rand(2, 100, 3))
    >>> out.logits.shape, out.matrices.shape, out.beta.shape
    (torch.Size([2, 100, 6]), torch.Size([2, 6, 3, 3]), torch.Size([2, 3]))
    """

    def __init__(self, n_parts: int, n_shape: int, width: int = 256):
        super().__init__()
        check_count("n_parts", n_parts)
        check_count("n_shape", n_shape)
        check_count("width", width)
        self.n_parts = n_parts
        self.local = mlp(3, 64, 128)
        self.whole = mlp(128, width)
        self.segment = mlp(128 + width, 128, 64, n_parts)
        self.pose = mlp(width, 256, 128, 9 * n_parts)
        self.shape = mlp(width, 64, n_shape)

    def forward(self, points: Tensor, labels: Tensor | None = None) -> Prediction:
        """Returns the prediction for clouds (B, N, 3); labels are taken and left unused.

        Raises:
            ValueError: points are not a non-empty (B, N, 3) tensor.
        """
        check_points("points", points)
        x = 2 * (points - points.mean(1, keepdim=True))  # meters are a little small
        h = nn.functional.leaky_relu(self.local(x), 0.1)
        whole = self.whole(h).amax(1)  # (B, width)
        around = whole[:, None].expand(-1, h.shape[1], -1)
        logits = self.segment(torch.cat([h, around], -1))
        whole = nn.functional.leaky_relu(whole, 0.1)
        matrices = self.pose(whole).view(-1, self.n_parts, 3, 3)
        return Prediction(logits, matrices, self.shape(whole))
