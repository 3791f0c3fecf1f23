"""Detectors of torchvision, seen as the detectors of this package are."""

from torch import Tensor, nn

from equitutor.checks import check_count


class TorchvisionBoxes(nn.Module):
    """A detector of torchvision, such as Faster R-CNN, with its answers as detections (B, k, 6).

    Such a model takes a list of images (C, H, W) and returns for each a dict of "boxes" (n, 4),
    "scores" (n,) and "labels" (n,). The k most confident are kept; rows of zeros fill up.

    Args:
        model: module or callable of that kind. k: boxes for each image, >= 1.

    Raises ValueError where model can't be called, or its answer has another form.

    >>> import torch
    >>> empty = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0)}
    >>> TorchvisionBoxes(lambda images: [empty for _ in images], 2)(torch.rand(3, 3, 8, 8)).shape
    torch.Size([3, 2, 6])
    """

    def __init__(self, model, k: int = 1):
        super().__init__()
        if not callable(model):
            raise ValueError(f"model must be callable, got {type(model).__name__}")
        check_count("k", k)
        self.model, self.k = model, k

    def forward(self, x: Tensor) -> Tensor:
        answers = self.model(list(x))
        if len(answers) != len(x):
            raise ValueError(f"model must return {len(x)} answers, got {len(answers)}")
        found = x.new_zeros(len(x), self.k, 6)
        for row, answer in zip(found, answers, strict=True):
            if not {"boxes", "scores", "labels"} <= set(answer):
                raise ValueError(f"model must return boxes, scores, labels, got {sorted(answer)}")
            boxes, scores, labels = (answer[key] for key in ("boxes", "scores", "labels"))
            if scores.ndim != 1 or boxes.shape != (len(scores), 4) or labels.shape != scores.shape:
                found_shapes = [tuple(part.shape) for part in (boxes, scores, labels)]
                raise ValueError(f"model must return boxes (n, 4), scores (n,), labels (n,), "
                                 f"got {found_shapes}")  # fmt: skip
            best = scores.argsort(dim=0, descending=True, stable=True)[: self.k]
            row[: len(best), :4] = boxes[best].to(row)
            row[: len(best), 4] = scores[best].to(row)
            row[: len(best), 5] = labels[best].to(row)
        return found
