"""Soft equivariance under mixed symmetries (Kim et al., ICML 2023, arXiv 2306.00356).

`groups` gives a group by its generators, `representations` says how it acts on typed features,
`projectors` finds the nearest equivariant weight, `layers` and `networks` build on these,
`measures` says how symmetric a network is, and `tuning` asks for it: penalty, step and rule.
`rivals` holds two later ideas to compare with.

>>> from equitutor.methods import soft
>>> layer = soft.TypedProjector(soft.O(3), soft.Rep(0, 2), soft.Rep(0, 1))
>>> layer.codim()  # of 18 weights and 3 offsets, two may be chosen
19
"""

from equitutor.methods.soft.groups import (
    SO,
    MatrixGroup,
    O,
    embed_O2,
    finite,
    join,
    reflection,
    scaling,
)
from equitutor.methods.soft.layers import (
    ExactTypedLinear,
    GatedQuadratic,
    ResidualTypedLinear,
    SoftTypedLinear,
)
from equitutor.methods.soft.measures import (
    codimensions,
    distances,
    function_error,
    function_errors,
    lie_error,
    soft_layers,
)
from equitutor.methods.soft.networks import TypedNetwork, count_parameters, mlp, widest
from equitutor.methods.soft.projectors import TypedProjector, hom_projector
from equitutor.methods.soft.representations import Rep
from equitutor.methods.soft.rivals import LatentNetwork, SoftProjectedLinear, soft_projector
from equitutor.methods.soft.tuning import (
    Snapshot,
    SoftTuning,
    decoupled_step,
    penalty,
    residual_penalty,
    snapshot_rule,
)

__all__ = [
    "SO",
    "ExactTypedLinear",
    "GatedQuadratic",
    "LatentNetwork",
    "MatrixGroup",
    "O",
    "Rep",
    "ResidualTypedLinear",
    "Snapshot",
    "SoftProjectedLinear",
    "SoftTuning",
    "SoftTypedLinear",
    "TypedNetwork",
    "TypedProjector",
    "codimensions",
    "count_parameters",
    "decoupled_step",
    "distances",
    "embed_O2",
    "finite",
    "function_error",
    "function_errors",
    "hom_projector",
    "join",
    "lie_error",
    "mlp",
    "penalty",
    "reflection",
    "residual_penalty",
    "scaling",
    "snapshot_rule",
    "soft_layers",
    "soft_projector",
    "widest",
]
