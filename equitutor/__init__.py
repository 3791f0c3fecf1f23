"""Equitutor: equivariant deep learning through five papers, measured with one orbit meter.

Importing the package changes nothing in the process. Each module is imported where it is used:
``from equitutor import orbits``.
"""

__version__ = "0.1.0"
