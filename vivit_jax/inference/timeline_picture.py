"""A picture of a time line: the likeliest labels, and their probabilities."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vivit_jax import files
from vivit_jax.errors import UserError
from vivit_jax.inference import timeline
from vivit_jax.inference.predictor import Window

_LABELS = 9  # that get a colour of their own; all others are grey
_NAME_LENGTH = 32  # characters in the legend


def write(
  path: str | os.PathLike,
  name: str,
  windows: Sequence[Window],
  label_names: Mapping[str, Sequence[str]],
) -> None:
  """Writes the time line of a video as a PNG, whole or not at all.

  Args:
    path: of the PNG.
    name: of the video, the title.
    windows: all of the video's, at least one.
    label_names: of each head, in the order of its outputs.

  Raises:
    UserError: a file that cannot be written.
  """
  path = pathlib.Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as unfinished:
      draw(name, windows, label_names).savefig(unfinished, format='png')
  except OSError as error:
    raise UserError(
      f'cannot write {path}: {error.strerror or error}.'
    ) from None


def draw(
  name: str,
  windows: Sequence[Window],
  label_names: Mapping[str, Sequence[str]],
) -> Figure:
  """Draws a band of segments for each head, over curves of probabilities."""
  heads = list(windows[0].heads)
  figure = Figure(
    figsize=(12, 0.6 + 2.6 * len(heads)), dpi=110, layout='constrained'
  )
  figure.suptitle(name, fontsize=11, parse_math=False)
  found = list(timeline.segments(windows))
  for axes, head in zip(
    figure.subplots(len(heads), squeeze=False)[:, 0], heads
  ):
    mine = [segment for segment in found if segment.head == head]
    _draw_head(axes, head, windows, mine, list(label_names[head]))
  return figure


def _draw_head(
  axes: Axes,
  head: str,
  windows: Sequence[Window],
  found: Sequence[timeline.Segment],
  names: Sequence[str],
) -> None:
  lasting: dict[str, float] = {}
  for segment in found:
    length = segment.end - segment.start
    lasting[segment.label] = lasting.get(segment.label, 0.0) + length
  shown = sorted(lasting, key=lambda label: -lasting[label])[:_LABELS]
  palette = matplotlib.colormaps['tab10'].colors
  colours = dict(zip(shown, palette))
  for segment in found:
    axes.axvspan(
      segment.start,
      segment.end,
      ymin=0.92,
      color=colours.get(segment.label, 'lightgrey'),
      linewidth=0,
    )
  times = [(window.start + window.end) / 2 for window in windows]
  for label in shown:
    place = names.index(label)
    values = [float(window.heads[head].every[place]) for window in windows]
    short = label if len(label) <= _NAME_LENGTH else label[:31] + '…'
    marker = 'o' if len(windows) < 60 else None
    (curve,) = axes.plot(
      times, values, color=colours[label], marker=marker, markersize=3
    )
    curve.set_label(short.replace('$', r'\$').lstrip('_') or ' ')
  axes.set(ylim=(0, 1.1), xlim=(windows[0].start, windows[-1].end))
  axes.set_ylabel(f'{head}: probability', parse_math=False)
  axes.set_yticks([0, 0.5, 1])
  axes.xaxis.set_major_locator(MaxNLocator(10))
  axes.xaxis.set_major_formatter(
    FuncFormatter(lambda seconds, _: timeline.clock(max(seconds, 0), False))
  )
  axes.grid(alpha=0.3)
  axes.legend(
    loc='center left', bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False
  )
