"""The laboratory: each paper's experiment as a small program, at any size, on any machines.

`study` says what a study is, `engine` runs it, `records` keeps what came out, `verdicts` computes
means, intervals and verdicts from the records, and each further module is the study of one paper.

    python -m equitutor.studies list
    python -m equitutor.studies run polyphase-vit --size smoke
    python -m equitutor.studies show polyphase-vit

>>> from equitutor import studies
>>> study, module = studies.find("polyphase-vit")
>>> len(study.sizes["smoke"]) > 0
True
"""

from equitutor.studies.records import load
from equitutor.studies.study import STUDIES, Claim, Estimate, Rule, Study, find, grid
from equitutor.studies.verdicts import (
    above,
    below,
    estimate,
    every,
    paired,
    shown,
    table,
    verdicts,
    within,
)

__all__ = [
    "STUDIES",
    "Claim",
    "Estimate",
    "Rule",
    "Study",
    "above",
    "below",
    "estimate",
    "every",
    "find",
    "grid",
    "load",
    "paired",
    "shown",
    "table",
    "verdicts",
    "within",
]
