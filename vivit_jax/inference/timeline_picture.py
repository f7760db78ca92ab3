"""A picture of a time line: the likeliest labels, and their probabilities."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vivit_jax import files
from vivit_jax.errors import UserError
from vivit_jax.inference import timeline
from vivit_jax.inference.predictor import Ranking, Window

_LABELS = 9  # that get a colour of their own; all others are grey
_MOST = 300  # windows side by side; more are averaged, lest curves be a block
_OTHERS = 'lightgrey'
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
  drawn = merged(windows, label_names, _MOST)
  bands = list(timeline.segments(drawn))
  for axes, head in zip(
    figure.subplots(len(heads), squeeze=False)[:, 0], heads
  ):
    names = list(label_names[head])
    shown = _shown([x for x in found if x.head == head])
    colours = {label: colour(names.index(label), len(names)) for label in shown}
    mine = [segment for segment in bands if segment.head == head]
    _draw_head(axes, head, drawn, mine, names, colours)
    labels = {x.label for x in (*found, *bands) if x.head == head}
    _draw_legend(axes, len(labels.difference(shown)))
  return figure


def merged(
  windows: Sequence[Window], label_names: Mapping[str, Sequence[str]], most: int
) -> Sequence[Window]:
  """Returns at most so many windows: the means of as many neighbours each.

  Args:
    windows: of a video, in their order.
    label_names: of each head, in the order of its outputs.
    most: windows; so many or fewer are returned as they are.
  """
  if len(windows) <= most:
    return windows
  together = -(-len(windows) // most)
  found = []
  for start in range(0, len(windows), together):
    part = windows[start : start + together]
    heads = {}
    for head, names in label_names.items():
      every = np.mean([window.heads[head].every for window in part], axis=0)
      order = np.argsort(-every, kind='stable')
      labels = tuple(names[place] for place in order)
      heads[head] = Ranking(labels, every[order], every)
    found.append(Window(part[0].start, part[-1].end, heads))
  return found


def colour(place: int, classes: int) -> tuple[float, float, float]:
  """Returns the colour of a class, the same in the pictures of all videos."""
  if classes <= 20:
    table = matplotlib.colormaps['tab10' if classes <= 10 else 'tab20']
    return table.colors[place]
  # Hues by the golden ratio: neighbours are far apart, and none comes twice.
  hue, strong = place * 0.6180339887 % 1, place % 2
  return tuple(hsv_to_rgb((hue, 0.9 if strong else 0.6, 0.7 + 0.2 * strong)))


def _shown(found: Sequence[timeline.Segment]) -> list[str]:
  """Returns the labels that last longest."""
  lasting: dict[str, float] = {}
  for segment in found:
    length = segment.end - segment.start
    lasting[segment.label] = lasting.get(segment.label, 0.0) + length
  return sorted(lasting, key=lambda label: -lasting[label])[:_LABELS]


def _draw_head(
  axes: Axes,
  head: str,
  windows: Sequence[Window],
  found: Sequence[timeline.Segment],
  names: Sequence[str],
  colours: Mapping[str, tuple[float, float, float]],
) -> None:
  for segment in found:
    axes.axvspan(
      segment.start,
      segment.end,
      ymin=0.92,
      color=colours.get(segment.label, _OTHERS),
      linewidth=0,
    )
  times = [(window.start + window.end) / 2 for window in windows]
  for label in colours:
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


def _draw_legend(axes: Axes, hidden: int) -> None:
  """Draws what the colours mean; labels that have none are counted."""
  handles, labels = axes.get_legend_handles_labels()
  if hidden:
    handles.append(Patch(color=_OTHERS))
    labels.append(f'and {hidden} more')
  axes.legend(
    handles,
    labels,
    loc='center left',
    bbox_to_anchor=(1, 0.5),
    fontsize=8,
    frameon=False,
  )
