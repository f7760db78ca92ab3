"""Computes the geometry of line charts, which the template draws as SVG.

Matplotlib's own SVG shows no values on hover, repeats its ids in every chart,
and is several times larger.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import ticker

from vivit_jax.evaluation.page.document import count

_WIDTH, _HEIGHT = 360, 220  # in pixels; letters are 12 high on a phone
# (x, y) of the plot's lower left and upper right corner; y points downwards.
_START, _END = np.array([60, 182]), np.array([348, 10])
_RADIUS = 3.5  # of a dot
_MIN_RADIUS, _MAX_RADIUS = 1.5, 7.0  # of a dot whose area shows a count
# One per colour, so that lines also differ without colours.
_DASHES = ('none', '7 4', '2 4', '9 3 2 3', '12 4', '4 2')


@dataclasses.dataclass(frozen=True)
class Line:
  """A named line through points, x ascending; not finite: a gap."""

  name: str  # in the legend
  x: Sequence[float]
  y: Sequence[float]
  dots: bool = False  # whether to mark each point, with its value on hover
  videos: Sequence[int] | None = None  # at each point: the area of its dot


def chart(
  title: str,
  lines: Sequence[Line],
  *,
  x_label: str,
  percent: bool = False,
  mark: tuple[float, str] | None = None,
) -> dict[str, Any] | None:
  """Returns the values for the template's `chart`; None if no point is finite.

  Args:
    title: above the chart.
    lines: at least one.
    x_label: below the x axis.
    percent: y values are fractions from 0 to 1, shown as percentages.
    mark: x of a vertical line, and its name.
  """
  factor, unit = (100, '%') if percent else (1, '')
  values = [
    np.column_stack([line.x, factor * np.asarray(line.y)]).astype(float)
    for line in lines
  ]
  finite = np.concatenate(values)
  finite = finite[np.isfinite(finite).all(axis=1)]
  if not len(finite):
    return None
  low, high = finite.min(axis=0), finite.max(axis=0)
  if mark:
    low[0], high[0] = min(low[0], mark[0]), max(high[0], mark[0])
  alone = np.array([0.5, 0.05 * abs(low[1]) or 0.5])
  margin = np.where(low == high, alone, (high - low) * (0, 0.06))
  low, high = low - margin, high + margin
  if percent:
    low[1], high[1] = max(low[1], 0), min(high[1], 100)

  def to_pixels(values: Any) -> np.ndarray:
    share = (np.asarray(values, float) - low) / (high - low)
    return np.round(_START + share * (_END - _START), 2)

  x_ticks = _ticks(low[0], high[0], ticker.EngFormatter(sep=''), integer=True)
  y_ticks = _ticks(low[1], high[1], ticker.ScalarFormatter(useOffset=False))
  return {
    'title': title,
    'label': '; '.join(
      _ends(line.name, own, unit) for line, own in zip(lines, values)
    ),
    'width': _WIDTH,
    'height': _HEIGHT,
    'plot': (*_START.tolist(), *_END.tolist()),
    'x_label': x_label,
    'x_ticks': [(to_pixels((x, low[1]))[0], words) for x, words in x_ticks],
    'y_ticks': [
      (to_pixels((low[0], y))[1], words + unit) for y, words in y_ticks
    ],
    'mark': mark and (to_pixels((mark[0], low[1]))[0], mark[1]),
    'lines': [
      {
        'name': line.name,
        'colour': number % len(_DASHES) + 1,
        'dashes': _DASHES[number % len(_DASHES)],
        'path': _path(to_pixels(own)),
        'dots': _dots(line, own, to_pixels(own), unit) if line.dots else [],
      }
      for number, (line, own) in enumerate(zip(lines, values))
    ],
  }


def _ticks(
  low: float, high: float, formatter: ticker.Formatter, integer: bool = False
) -> list[tuple[float, str]]:
  """Returns the tick values of an axis with their labels."""
  values = ticker.MaxNLocator(nbins=5, integer=integer).tick_values(low, high)
  slack = 1e-9 * (high - low)  # rounding may move a tick over the edge
  values = [float(x) for x in values if low - slack <= x <= high + slack]
  formatter.create_dummy_axis()
  formatter.axis.set_view_interval(low, high)
  if isinstance(formatter, ticker.ScalarFormatter):
    formatter.set_scientific(False)
  return list(zip(values, formatter.format_ticks(values)))


def _path(pixels: np.ndarray) -> str:
  """Returns the `d` of an SVG path; points that are not finite are gaps."""
  parts, command = [], 'M'
  for x, y in pixels.tolist():
    if np.isfinite([x, y]).all():
      parts.append(f'{command}{x} {y}')
      command = 'L'
    else:
      command = 'M'
  return ''.join(parts)


def _dots(
  line: Line, values: np.ndarray, pixels: np.ndarray, unit: str
) -> list[tuple[float, float, float, str]]:
  """Returns (x, y, radius, words) of each point."""
  radii, notes = np.full(len(values), _RADIUS), [''] * len(values)
  if line.videos is not None:
    share = np.asarray(line.videos) / max(line.videos, default=1)
    radii = np.maximum(_MAX_RADIUS * np.sqrt(share), _MIN_RADIUS).round(2)
    notes = [f', {count(n, "video")}' for n in line.videos]
  return [
    (*at, radius, f'{x:g}: {y:.2f}{unit}{note}')
    for (x, y), at, radius, note in zip(values, pixels, radii, notes)
    if np.isfinite(at).all()
  ]


def _ends(name: str, values: np.ndarray, unit: str) -> str:
  """Returns the first and last point of a line in words, for screen readers."""
  values = values[np.isfinite(values).all(axis=1)]
  ends = values[:: max(len(values) - 1, 1)]
  return f'{name}: ' + ', '.join(f'{y:.4g}{unit} at {x:g}' for x, y in ends)
