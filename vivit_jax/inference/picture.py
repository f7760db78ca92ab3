"""Frames, heat maps and time curve of a clip, in one picture."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from vivit_jax.inference import captions, drawing, heat

_COLUMNS = 4  # frames in a row
_MOST = 16  # frames in a picture
_WIDTH = 8.0  # inches of a picture; 100 pixels each
_LEFT, _RIGHT = 0.75, 0.2  # inches beside the frames
_GAP = 0.06  # inches between frames
_LABELS = 0.5  # inches of the labels below a curve
_BAR = 0.75  # inches of the colour bar and its labels


def picture(explanation: drawing.Explanation) -> Figure:
  """Draws frames, their heat maps and the time curve.

  Of more than 16 temporal indices, some stand for their neighbours; the curve
  has them all.
  """
  group = -(-len(explanation.time) // _MOST)  # temporal indices of a column
  shown = np.arange(0, len(explanation.time), group)
  columns = min(_COLUMNS, len(shown))
  bands = -(-len(shown) // columns)
  side = (_WIDTH - _LEFT - _RIGHT) / max(columns, 2) - _GAP
  lines = captions.of_heads(explanation.title, explanation.heads, _WIDTH - 0.4)
  sheet = _Sheet(explanation, side, side * explanation.aspect)
  band = 2 * (sheet.height + _GAP) + drawing.CURVE + _LABELS
  head = captions.height(lines)
  whole = head + bands * band + _BAR
  figure = Figure(figsize=(_WIDTH, whole), dpi=100)
  captions.draw(figure, lines, left=0.2)
  for number in range(bands):
    indices = shown[number * columns : (number + 1) * columns]
    sheet.band(figure, indices, group, head + number * band)
  sheet.colour_bar(figure)
  return figure


class _Sheet:
  """Draws bands of frames, heat maps and curve into a figure.

  `width` and `height` are of a frame, in inches.
  """

  def __init__(
    self, explanation: drawing.Explanation, width: float, height: float
  ):
    self._of = explanation
    self._limits = heat.scale(explanation.space)
    self.width, self.height = width, height

  def band(
    self, figure: Figure, indices: np.ndarray, group: int, top: float
  ) -> None:
    """Draws one band.

    Args:
      figure: to draw into.
      indices: temporal indices, the first one of each column.
      group: temporal indices of a column; the middle one is shown.
      top: inches from the figure's upper edge.
    """
    middles = np.minimum(indices + group // 2, len(self._of.time) - 1)
    numbers = middles * self._of.tubelet + self._of.tubelet // 2
    frames = heat.enlarged(self._of.frames[numbers], drawing.PIXELS)
    covered = heat.overlay(frames, self._of.space[middles], self._limits)
    across, down = self.width + _GAP, self.height + _GAP
    for row, (name, images) in enumerate(
      (('frame', frames), ('where', covered))
    ):
      for column, image in enumerate(images):
        axes = drawing.axes(
          figure,
          _LEFT + column * across,
          top + row * down,
          self.width,
          self.height,
        )
        _without_ticks(axes)
        axes.imshow(image, aspect='auto', interpolation='antialiased')
        if not column:
          _name(axes, name)
    width = len(indices) * across - _GAP
    axes = drawing.axes(figure, _LEFT, top + 2 * down, width, drawing.CURVE)
    self._time_curve(axes, indices, group)

  def _time_curve(self, axes: Axes, indices: np.ndarray, group: int) -> None:
    """Draws the curve of a band, each index below its own frame."""
    drawing.draw_curve(axes, self._of)
    # The gaps between frames are shared out to both sides.
    gap = group * _GAP / (self.width + _GAP) / 2
    first, last = indices[0] - 0.5, indices[-1] + group - 0.5
    axes.set_xlim(first + gap, last - gap)
    names = [self._moment(index, group) for index in indices]
    axes.set_xticks(indices + (group - 1) / 2, names, fontsize=9)
    axes.tick_params(length=0)
    axes.set_yticks([0, 1], ['0', '1x'], fontsize=9)
    _name(axes, 'when')
    axes.spines[['top', 'right']].set_visible(False)

  def _moment(self, index: int, group: int) -> str:
    """Returns when the frames of a column are, and which they are."""
    end = min(index + group, len(self._of.time)) * self._of.tubelet
    start = index * self._of.tubelet
    words = f'frames {start + 1}\u2013{end}'
    if end == start + 1:
      words = f'frame {end}'
    if self._of.interval is None:
      return words
    return f'{start * self._of.interval:.2f} s\n{words}'

  def colour_bar(self, figure: Figure) -> None:
    """Draws what the colours mean at the figure's lower edge."""
    wide, high = figure.get_size_inches()
    axes = drawing.axes(
      figure, _LEFT, high - _BAR + 0.1, wide - _LEFT - _RIGHT, 0.14
    )
    colours = ScalarMappable(Normalize(*self._limits), heat.COLOURS)
    bar = figure.colorbar(colours, cax=axes, orientation='horizontal')
    bar.set_ticks(np.linspace(*self._limits, 5))
    bar.ax.tick_params(labelsize=9)
    bar.ax.xaxis.set_major_formatter('{x:.2g}x')
    times = '; times are of the clip' if self._of.interval else ''
    bar.set_label(
      'where: attention (rollout) beside an even share of the frame' + times,
      fontsize=10,
    )


def _name(axes: Axes, name: str) -> None:
  axes.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=10)


def _without_ticks(axes: Axes) -> None:
  axes.set_xticks([])
  axes.set_yticks([])
  axes.spines[:].set_visible(False)
