"""Interactive figures that live in a page: no kernel, no network, nothing to install.

`host` turns a JavaScript module and its numbers into HTML, `polyphase` is the first explorer,
`networks` moves small trained networks to disk and into a page, `hero` fills the front page.
`symmetry` shows orbits of shapes and tables of small groups.

>>> from equitutor import explorers, groups
>>> explorer = explorers.cayley_explorer([groups.cyclic(4)])
>>> html = explorer.to_html()
"""

from equitutor.explorers.hero import hero_html
from equitutor.explorers.host import Explorer
from equitutor.explorers.networks import load_network, save_network
from equitutor.explorers.polyphase import polyphase_explorer
from equitutor.explorers.symmetry import cayley_explorer, orbit_explorer

__all__ = [
    "Explorer",
    "cayley_explorer",
    "hero_html",
    "load_network",
    "orbit_explorer",
    "polyphase_explorer",
    "save_network",
]
