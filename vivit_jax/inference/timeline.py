"""The time line of a long video: segments with one label each, and a plot."""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vivit_jax import files, fonts
from vivit_jax.inference.predictor import Window

_TAB10 = matplotlib.colormaps['tab10'].colors
_COLOURS = _TAB10[:7] + _TAB10[8:]  # without grey
_OTHERS = 'lightgrey'  # for labels without a colour


@dataclasses.dataclass(frozen=True)
class Segment:
  """Consecutive windows with the same top label of a head.

  Attributes:
    head: name of the head.
    start, end: in seconds.
    label: top label of the windows.
    probability: of the label, averaged over the windows.
  """

  head: str
  start: float
  end: float
  label: str
  probability: float

  def to_json(self) -> dict[str, Any]:
    return {
      'start': round(self.start, 3),
      'end': round(self.end, 3),
      'label': self.label,
      'probability': round(self.probability, 6),
    }


def segments(windows: Iterable[Window]) -> Iterator[Segment]:
  """Yields the segments of all heads, each as soon as it ends.

  Segments of a head do not overlap: where two windows overlap or leave a gap,
  the boundary is in the middle of the overlap or gap.
  """
  unfinished: dict[str, tuple[float, str, list[float]]] = {}
  previous = None

  def finished(head: str, end: float) -> Segment:
    start, label, probabilities = unfinished.pop(head)
    mean = sum(probabilities) / len(probabilities)
    return Segment(head, start, end, label, mean)

  for window in windows:
    boundary = window.start
    if previous is not None:
      boundary = (previous.end + window.start) / 2
    for head, ranking in window.heads.items():
      label, probability = ranking.labels[0], float(ranking.probabilities[0])
      if head in unfinished and unfinished[head][1] != label:
        yield finished(head, boundary)
      unfinished.setdefault(head, (boundary, label, []))[2].append(probability)
    previous = window
  for head in list(unfinished):
    yield finished(head, previous.end)


def clock(seconds: float) -> str:
  """Returns '1:02:03.4', or '2:03.4' below an hour."""
  minutes, tenths = divmod(round(seconds * 10), 600)
  hours, minutes = divmod(minutes, 60)
  rest = f'{tenths // 10:02}.{tenths % 10}'
  return f'{hours}:{minutes:02}:{rest}' if hours else f'{minutes}:{rest}'


def line(segment: Segment) -> str:
  """Returns '0:00.0-0:12.0 verb stir 0.91'."""
  return (
    f'{clock(segment.start)}-{clock(segment.end)} {segment.head} '
    f'{segment.label} {segment.probability:.2f}'
  )


def write(
  path: pathlib.Path,
  title: str,
  windows: Sequence[Window],
  label_names: Mapping[str, Sequence[str]],
) -> None:
  """Writes the plot of a video's windows, at least one, as a PNG, atomically.

  Raises:
    UserError: the file cannot be written.
  """
  figure = draw(title, windows, label_names)
  with files.writing(path) as unfinished, fonts.without_warnings():
    figure.savefig(unfinished, format='png')


def draw(
  title: str,
  windows: Sequence[Window],
  label_names: Mapping[str, Sequence[str]],
) -> Figure:
  """Plots, for each head, a band of segments and the probabilities."""
  figure = Figure(
    (12, 0.6 + 2.6 * len(label_names)), dpi=110, layout='constrained'
  )
  figure.suptitle(
    fonts.shortened(title, 100),
    fontsize=11,
    fontfamily=fonts.families(),
    parse_math=False,
  )
  every = list(segments(windows))
  rows = figure.subplots(len(label_names), squeeze=False)[:, 0]
  for axes, (head, names) in zip(rows, label_names.items()):
    _draw_head(axes, windows, [s for s in every if s.head == head], names)
    axes.set_ylabel(f'{head}: probability', parse_math=False)
  return figure


def _draw_head(
  axes: Axes,
  windows: Sequence[Window],
  bands: Sequence[Segment],
  names: Sequence[str],
) -> None:
  """Plots one head, with colour and curve for the labels that last longest."""
  seconds: Counter[str] = Counter()
  for segment in bands:
    seconds[segment.label] += segment.end - segment.start
  labels = [label for label, _ in seconds.most_common(len(_COLOURS))]
  colours = dict(zip(labels, _COLOURS))
  for segment in bands:
    colour = colours.get(segment.label, _OTHERS)
    axes.axvspan(
      segment.start, segment.end, ymin=0.92, color=colour, linewidth=0
    )
  times = [(window.start + window.end) / 2 for window in windows]
  handles, marker = [], 'o' if len(windows) < 60 else None
  for label, colour in colours.items():
    index = names.index(label)
    values = [window.heads[bands[0].head].every[index] for window in windows]
    handles += axes.plot(
      times, values, color=colour, marker=marker, markersize=3
    )
  texts = [fonts.shortened(label, 32) for label in labels]
  if len(seconds) > len(labels):
    handles.append(Patch(color=_OTHERS))
    texts.append(f'and {len(seconds) - len(labels)} more')
  legend = axes.legend(
    handles, texts, loc='center left', bbox_to_anchor=(1, 0.5), frameon=False
  )
  for text in legend.get_texts():
    text.set(parse_math=False, fontfamily=fonts.families(), fontsize=8)
  axes.set(ylim=(0, 1.1), xlim=(windows[0].start, windows[-1].end))
  axes.set_yticks([0, 0.5, 1])
  axes.xaxis.set_major_locator(MaxNLocator(10))
  axes.xaxis.set_major_formatter(
    FuncFormatter(lambda seconds, _: clock(max(seconds, 0)))
  )
  axes.grid(alpha=0.3)
