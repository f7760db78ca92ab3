"""What a picture and an animation of where a model looks have in common."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vivit_jax.inference.predictor import Ranking

PIXELS = 224  # of a frame's width, about: small frames are enlarged
CURVE = 0.75  # inches of a time curve's height
_DARK = '#333333'
_LINE = '#0b5394'  # of the curve


@dataclasses.dataclass(frozen=True)
class Explanation:
  """What there is to draw of a clip.

  Attributes:
    frames: uint8 [T, H, W, 3], as the model sees them.
    space: float [t, h, w], where it looks within each temporal index, in
      multiples of an even share.
    time: float [t], what share each temporal index has, likewise.
    heads: the ranking of each head.
    title: above all, the video's name for one.
    interval: seconds from a frame to the next, or None.
  """

  frames: np.ndarray
  space: np.ndarray
  time: np.ndarray
  heads: Mapping[str, Ranking]
  title: str
  interval: float | None = None

  @property
  def tubelet(self) -> int:
    """Frames of a temporal index."""
    return len(self.frames) // len(self.time)

  @property
  def aspect(self) -> float:
    """Height of a frame by its width."""
    return self.frames.shape[1] / self.frames.shape[2]


def axes(
  figure: Figure, left: float, top: float, width: float, height: float
) -> Axes:
  """Returns axes by inches from the figure's left and top edge."""
  wide, high = figure.get_size_inches()
  bottom = high - top - height
  return figure.add_axes(
    (left / wide, bottom / high, width / wide, height / high)
  )


def draw_curve(into: Axes, explanation: Explanation) -> None:
  """Draws the time curve, an even share being the dashed line at 1."""
  places, time = np.arange(len(explanation.time)), explanation.time
  # Each temporal index as wide as its frames are.
  edges = np.concatenate([places - 0.5, [places[-1] + 0.5]])
  into.stairs(time, edges, color=_LINE, linewidth=2)
  into.stairs(time, edges, fill=True, color=_LINE, alpha=0.22)
  into.axhline(1, color=_DARK, linewidth=1, linestyle=(0, (4, 3)))
  into.set_ylim(0, 1.15 * max(1.0, float(time.max())))
