"""The body explorer: turn a scan, bend a joint, and watch two networks fit a body to it."""

import numpy as np
import torch
from torch import Tensor

from equitutor.explorers.fitters import page_body, page_fitter, page_group
from equitutor.explorers.host import Explorer, png_uri, source
from equitutor.methods.articulated import ArtEq, Body, PointNet, world_to_local
from equitutor.methods.icosahedral import rotation_angle, rotation_tables

MAX_POSES = 12
# Okabe and Ito's hues, dark on one side of the body and light on the other.
HUES = ("#7f7f7f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MIDDLE = {"pelvis": "#999999", "abdomen": "#c8c8c8", "chest": "#666666", "neck": "#e8a5cc",
          "head": "#cc79a7"}  # fmt: skip
SIDES = {
    "clavicle": "#8c6bb1", "upper arm": "#d55e00", "forearm": "#e69f00", "hand": "#f0e442",
    "thigh": "#0072b2", "shin": "#56b4e9", "foot": "#009e73",
}  # fmt: skip


def part_colors(names: tuple[str, ...]) -> list[str]:
    """Returns a color for each part: of a person alike on both sides, darker on the right one.

    >>> part_colors(("pelvis", "left foot", "right foot"))[1:]
    ['#009e73', '#006549']
    """
    colors = []
    for k, name in enumerate(names):
        side, _, bare = name.partition(" ")
        if side in ("left", "right") and bare in SIDES:
            color = SIDES[bare]
            if side == "right":
                shades = (int(color[i : i + 2], 16) * 0.64 for i in (1, 3, 5))
                color = "#" + "".join(f"{int(shade):02x}" for shade in shades)
        elif "pelvis" in names and name in MIDDLE:
            color = MIDDLE[name]
        else:
            color = HUES[k % len(HUES)]
        colors.append(color)
    return colors


def articulated_explorer(
    pointnet: PointNet,
    arteq: ArtEq,
    body: Body,
    poses: dict[str, Tensor],
    bends: list[dict],
    points: int = 512,
    start: int = 160,
    seed: int = 0,
    title: str = "Turn the scan and bend a joint: two networks fit a body",
) -> Explorer:
    """Returns an explorer of two networks that fit a body to its scan, both run by the page.

    Args:
        pointnet: network without symmetry. arteq: network with 60 rotations.
        body: shown in its mean shape.
        poses: name -> rotations in the world, (P, 3, 3), at most 12.
        bends: joints to bend, each {"name", "part", "axis", "low", "high"}: the index of a part,
            an axis in its frame at rest, and limits in degrees.
        points: of the scan.
        start: turn to open with, degrees.
        seed: of the points.
        title: one line.

    Raises:
        TypeError: a network is of another kind.
        ValueError: there is no pose or more than 12, a pose has another shape, or a network uses
            a part that the page cannot compute.
    """
    if not 1 <= len(poses) <= MAX_POSES:
        raise ValueError(f"poses has {len(poses)} entries; need 1 to {MAX_POSES}")
    for name, pose in poses.items():
        if pose.shape != (body.n_parts, 3, 3):
            raise ValueError(
                f"poses[{name!r}] has shape {tuple(pose.shape)}; need {(body.n_parts, 3, 3)}"
            )
    if not isinstance(arteq, ArtEq) or len(arteq.elements) != 60:
        raise ValueError("arteq must be an ArtEq with the 60 rotations")
    corners, mix, labels = surface_sample(body, points, seed)
    local = world_to_local(torch.stack(list(poses.values())).float(), body.parents)
    tables = rotation_tables()
    data = {
        "pointnet": page_fitter(pointnet, body.parents, "pointnet"),
        "arteq": page_fitter(arteq, body.parents, "arteq"),
        "group": page_group(tables),
        "body": page_body(body, corners, mix),
        "names": list(body.names),
        "parents": list(body.parents),
        "colors": part_colors(body.names),
        "labels": labels.tolist(),
        "poses": local.numpy().reshape(-1),
        "poseNames": list(poses),
        "bends": bends,
        "axes": axes_of(tables.elements),
        "start": int(start),
        "part": bends[0]["part"] if bends else 0,
    }
    parts = lambda *names: "\n".join(source(f"articulated-{name}.js") for name in names)
    module = parts("body", "drawing", "view") + "\n" + source("articulated.js")
    worker = parts("points", "layers", "nn", "body", "answers")
    first = next(iter(poses.values())).float()
    picture, alt = fallback(body, first, corners, mix, labels)
    style = source("articulated.css")
    return Explorer(module, data, title, fallback=picture, alt=alt, style=style, height=840,
                    worker=worker)  # fmt: skip


def surface_sample(body: Body, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns corners (n, 3), barycentric coordinates (n, 3) and parts (n,) of surface points.

    >>> from equitutor.methods.articulated import toy_body
    >>> [v.shape for v in surface_sample(toy_body(), 5, 0)]
    [torch.Size([5, 3]), torch.Size([5, 3]), torch.Size([5])]
    """
    generator = torch.Generator().manual_seed(seed)
    a, b, c = body.template[body.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).double()
    face = torch.multinomial(area, n, replacement=True, generator=generator)
    u, v = torch.rand(2, n, generator=generator)
    u = u.sqrt()
    mix = torch.stack([1 - u, u * (1 - v), u * v], -1)
    corners = body.faces[face]
    labels = (mix[..., None] * body.weights[corners]).sum(1).argmax(-1)
    return corners, mix, labels


def axes_of(elements: Tensor) -> list[dict]:
    """Returns axes to turn about: three of the icosahedron, and one that meets the group nowhere.

    >>> [axis["name"] for axis in axes_of(rotation_tables().elements)][0]
    'a vertex (72° steps)'
    """
    angle = rotation_angle(torch.eye(3, dtype=elements.dtype), elements).rad2deg().round()
    found = []
    for degrees, where in ((72, "a vertex"), (120, "a face"), (180, "an edge")):
        mine = elements[angle == degrees]
        if degrees == 180:  # the skew part is zero: R + 1 projects onto the axis
            axis = (mine + torch.eye(3, dtype=elements.dtype)).amax(2)
            axis = torch.where((mine.diagonal(dim1=1, dim2=2) > 0.99).any(1)[:, None], 9.0, axis)
            row = mine[int(axis.abs().sum(1).argmin())] + torch.eye(3, dtype=elements.dtype)
            axis = row[:, int(row.norm(dim=0).argmax())]
        else:
            skew = mine - mine.mT
            axes = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1)
            axis = axes[int((axes[:, 0] - axes[:, 2]).argmax())]  # neither upright nor sideways
        axis = axis / axis.norm()
        name = f"{where} ({degrees}° steps)"
        found.append({"name": name, "vector": axis.tolist()})
    upright = {"name": "upright (180° steps)", "vector": [0.0, 0.0, 1.0]}
    return [*found, upright, {"name": "no symmetry", "vector": [0.27, 0.53, 0.8]}]


def fallback(body, pose, corners, mix, labels) -> tuple[str, str]:
    """Returns the picture for a page without JavaScript, as a data address, and its text."""
    from matplotlib.figure import Figure

    vertices, _ = body(torch.zeros(1, body.n_shape), pose[None])
    points = (mix[..., None] * vertices[0][corners]).sum(1).numpy()
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    colors = np.array(part_colors(body.names))[labels.numpy()]
    for k, (across, what) in enumerate(((0, "from the front"), (1, "from the side"))):
        axis = figure.add_subplot(1, 2, k + 1)
        axis.scatter(points[:, across], points[:, 2], s=5, c=colors)
        axis.set_aspect("equal")
        axis.set_axis_off()
        axis.set_title(f"the scan, {what}", fontsize=9)
    text = "Points on a body, colored by part, seen from the front and from the side."
    return png_uri(figure, dpi=80), text
