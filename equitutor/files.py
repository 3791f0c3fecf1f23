"""Files that are written whole or not at all.

>>> import tempfile
>>> from equitutor.files import replacing
>>> with tempfile.TemporaryDirectory() as folder, replacing(f"{folder}/a.txt") as file:
...     _ = file.write(b"whole, or not at all")
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Yields a file for bytes, which takes the place of `path` when the block is left.

    A reader sees the old file or the new one. After an error the old one is as it was.

    Args:
        path: the file; its folder has to be there.

    Raises OSError where the folder is missing or full.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.txt")) as file:
    ...         _ = file.write(b"all of it")
    ...     Path(folder, "a.txt").read_text()
    'all of it'
    """
    path = Path(path)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(draft, 0o644)  # a draft is for its owner only
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
