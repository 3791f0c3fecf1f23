"""Which layer, or which code between layers, the first misfit belongs to."""

from __future__ import annotations

from equitutor.diagnose.watching import OWN, Event


def blame(still: list[Event], k: int) -> tuple[str, str]:
    """Returns the name and the place of event k, the first that is out of order.

    >>> import torch
    >>> from torch import nn
    >>> from equitutor.diagnose.watching import Watch
    >>> blame(Watch(nn.ReLU()).run(torch.zeros(1)), 1)
    ('(the model itself)', 'at (the model itself) (ReLU)')
    """
    event = still[k]
    kind = f"({type(event.module).__name__})"
    before = [e for e in still[:k] if e.leaves]
    if event.leaves:
        inside = [e for e in before if (event.name, event.call) in e.parents]
        if inside and event.name != OWN:
            return event.name, f"in the code of {event.name} {kind} after {inside[-1].name}"
        if inside:
            return OWN, f"in the model's own code after {inside[-1].name}"
        return event.name, f"at {event.name} {kind}"
    owner = event.parents[-1][0] if event.parents else OWN
    code = "the model's own code" if owner == OWN else f"the code of {owner}"
    after = f" after {before[-1].name}" if before else ""
    return owner, f"in {code}{after}, before {event.name} {kind}"


def recovers(still: list[Event], k: int, verdicts: dict) -> bool:
    """Returns whether what follows event k, or what contains it, is in order again.

    Then no action was found for a tensor only because it moves by a rule that is not tried.

    >>> import torch
    >>> from torch import nn
    >>> from equitutor.diagnose.watching import Watch
    >>> still = Watch(nn.Sequential(nn.ReLU(), nn.ReLU())).run(torch.zeros(1))
    >>> recovers(still, 2, {e.key: "fits" if e.name == "1" else "unknown" for e in still})
    True
    """
    event = still[k]
    around = [(name, call, True) for name, call in event.parents]
    if not event.leaves:
        around.append((event.name, event.call, True))
    if any(verdicts[key] == "fits" for key in around):
        return True
    reached, open_ids = set(), set(event.ids)
    for other in still[k + 1 :]:
        if not other.leaves and open_ids & set(other.ids):
            reached.add((other.name, other.call))
        elif other.leaves and (other.name, other.call) in reached:
            if verdicts[other.key] == "fits" and other.name != OWN:
                return True
            open_ids |= set(other.ids)
    return False
