"""Real data for the chapters: found on this machine or fetched, checked, and parsed."""

from .cache import fetch, locate
from .errors import ChecksumError, DataError, DownloadError, FormatError
from .images import Images, cifar10, digits, mnist, on_canvas
from .registry import SETS, DataSet, File

__all__ = [
    "SETS",
    "ChecksumError",
    "DataError",
    "DataSet",
    "DownloadError",
    "File",
    "FormatError",
    "Images",
    "cifar10",
    "digits",
    "fetch",
    "locate",
    "mnist",
    "on_canvas",
]
