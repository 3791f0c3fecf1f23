"""Copies the five pictures of the README out of the executed chapters.

Run it after `make book`, and commit what it writes: `python tools/readme_pictures.py`.
"""

import base64
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 900  # pixels
CELLS = {
    "nero": "clover-figure",
    "polyphase-vit": "orbit-figure",
    "more/soft-equivariance": "fan-figure",
    "alias-free-diffusion": "zone-figure",
    "arteq": "person-figure",
}


def figure(chapter: str, cell: str) -> bytes:
    """Returns the first PNG that a cell of an executed chapter left."""
    path = ROOT / "build/executed" / f"{chapter}.ipynb"
    for one in nbformat.read(path, as_version=4).cells:
        if one.id == cell:
            for output in one.outputs:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output.data["image/png"])
    raise SystemExit(f"{path.name} has no picture in the cell {cell}: run make book first")


def main() -> None:
    """Write one picture for each chapter."""
    folder = ROOT / "book/_assets/pictures"
    folder.mkdir(exist_ok=True)
    for chapter, cell in CELLS.items():
        picture = Image.open(BytesIO(figure(chapter, cell))).convert("RGB")
        height = round(picture.height * WIDTH / picture.width)
        small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(96).save(folder / f"{Path(chapter).name}.png", optimize=True)


if __name__ == "__main__":
    main()
