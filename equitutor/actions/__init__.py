"""What a group element does to images, flow fields, boxes and points.

Each function is a left group action on a batch: the identity changes nothing, and applying
``h`` and then ``g`` is the same as applying the product ``g h`` once. Only ``rotate_images``
between right angles is an action up to interpolation, and says so.
"""

from equitutor.actions.coordinates import rotate_points, shift_boxes
from equitutor.actions.fields import transform_flow, transform_scalar
from equitutor.actions.images import roll_images, rotate_images

__all__ = [
    "roll_images",
    "rotate_images",
    "rotate_points",
    "shift_boxes",
    "transform_flow",
    "transform_scalar",
]
