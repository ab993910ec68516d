"""Where a method's map lies: stretched evenly over what the network saw, or with its units at places of their own.

``units`` is the centre of a map's first unit and the step from one to the next, in pixels of the network's input, or
None for a map that is stretched. Imports no torch.
"""

import numpy as np
from numpy.typing import NDArray

from showcause.box import stretched
from showcause.outline import Grid, grid_over
from showcause.render import resized
from showcause.reply import InputFrame, Rectangle

Floats = NDArray[np.floating]
Units = tuple[float, float] | None


def grid_of(frame: InputFrame, values: Floats, units: Units) -> Grid:
    """Where in the photo the units of a map (h, w) lie."""
    height, width = values.shape
    return stretched(frame, height, width) if units is None else grid_over(frame, *units, width)


def at_size(values: Floats, units: Units, size: tuple[int, int], network: tuple[int, int]) -> NDArray[np.float32]:
    """A map at ``size`` (width, height) over the network's input; network: the input's own size."""
    if units is None:
        return resized(np.asarray(values, np.float32), size)
    # To stretch it would move what lies at the border by half a unit, away from the units' own places.
    whole = Rectangle(0.0, 0.0, float(size[0]), float(size[1]))
    grid = grid_of(InputFrame(0, 0, whole, *network, "none"), values, units)
    return grid.values(values, np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5).astype(np.float32)
