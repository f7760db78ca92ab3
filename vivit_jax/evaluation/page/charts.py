"""Line charts as SVG, in the colours of the page that they stand in."""

import dataclasses
import math
from collections.abc import Sequence

from matplotlib import ticker

from vivit_jax.evaluation.page.document import count, text

_WIDTH, _HEIGHT = 360, 220  # so that on a phone a letter is 12 pixels high
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 10, 38
_COLOURS = 6
_RADIUS = 3.5  # of a dot; of one that stands for videos:
_SMALLEST, _LARGEST = 1.5, 7.0
# Lines differ by these too, for those who do not see the colours, and on paper.
_DASHES = ('', '7 4', '2 4', '9 3 2 3', '12 4', '4 2')


@dataclasses.dataclass(frozen=True)
class Line:
  """A named line through points, with x rising.

  Attributes:
    name: of the line.
    x, y: of its points; those not finite are gaps.
    dots: mark each point, with its value for a pointer that rests on it.
    videos: of each point, how many it stands for: the area of its dot.
  """

  name: str
  x: Sequence[float]
  y: Sequence[float]
  dots: bool = False
  videos: Sequence[int] | None = None


def chart(
  title: str,
  lines: Sequence[Line],
  *,
  x_label: str,
  percent: bool = False,
  mark: tuple[float, str] | None = None,
) -> str:
  """Returns a figure of one or more lines, HTML.

  Args:
    title: words above it.
    lines: at least one.
    x_label: words below it.
    percent: y are fractions from 0 to 1, shown as percentages.
    mark: an x to point out, and what it is.
  """
  finite = [
    (x, y) for line in lines for x, y in zip(line.x, line.y) if _finite(x, y)
  ]
  if not finite:
    return ''
  factor = 100 if percent else 1
  xs = [x for x, _ in finite] + ([mark[0]] if mark else [])
  ys = [factor * y for _, y in finite]
  axis_x = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT, integer=True)
  axis_y = _Axis(
    min(ys),
    max(ys),
    _HEIGHT - _BOTTOM,
    _TOP,
    margin=0.06,
    within=(0, 100) if percent else (-math.inf, math.inf),
  )
  unit = '%' if percent else ''
  parts = [_grid(axis_x, axis_y, unit, x_label)]
  if mark:
    x = axis_x.place(mark[0])
    parts.append(
      f'<line class="mark" x1="{x}" x2="{x}" y1="{_TOP}" '
      f'y2="{_HEIGHT - _BOTTOM}"><title>{text(mark[1])}</title></line>'
    )
  for number, line in enumerate(lines):
    parts.append(_draw(line, number, axis_x, axis_y, factor, unit))
  label = f'{title}. ' + '; '.join(_say(line, factor, unit) for line in lines)
  legend = [
    f'<li>{_sample(number)}<bdi>{text(line.name)}</bdi></li>'
    for number, line in enumerate(lines)
  ]
  if mark:
    legend.append(
      '<li><svg viewBox="0 0 26 10" aria-hidden="true"><line class="mark" '
      f'x1="13" x2="13" y1="0" y2="10"/></svg>{text(mark[1])}</li>'
    )
  told = f'<ul class="legend">{"".join(legend)}</ul>' if len(legend) > 1 else ''
  return (
    f'<div class="card chart"><h3><bdi>{text(title)}</bdi></h3>\n'
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    f'aria-label="{text(label)}">\n'
    + '\n'.join(parts)
    + f'\n</svg>{told}</div>'
  )


class _Axis:
  """Places of values along an axis, and values to write at it."""

  def __init__(
    self,
    low: float,
    high: float,
    start: float,
    end: float,
    margin: float = 0.0,
    integer: bool = False,
    within: tuple[float, float] = (-math.inf, math.inf),
  ):
    if low == high:
      apart = 0.5 if integer else 0.05 * abs(low) or 0.5
      low, high = low - apart, high + apart
    margin *= high - low
    # There is nothing below 0%, nor above 100%.
    self._low = max(low - margin, within[0])
    self._high = min(high + margin, within[1])
    self._start, self._end = start, end
    locator = ticker.MaxNLocator(nbins=5, integer=integer)
    step_range = locator.tick_values(self._low, self._high)
    self.ticks = [
      float(value)
      for value in step_range
      if self._low - 1e-12 <= value <= self._high + 1e-12
    ]
    apart = min((b - a for a, b in zip(self.ticks, self.ticks[1:])), default=1)
    self._decimals = next(
      (d for d in range(9) if abs(round(apart, d) - apart) < 1e-6 * apart), 9
    )
    self._small = max(abs(self._low), abs(self._high)) < 1e-2

  def place(self, value: float) -> float:
    share = (value - self._low) / (self._high - self._low)
    return round(self._start + share * (self._end - self._start), 2)

  def say(self, value: float) -> str:
    """Returns a tick in words: 20k, 0.5, 1e-4."""
    if self._small:
      return f'{value:.2g}' if value else '0'
    if abs(value) >= 10_000 and value % 100 == 0:
      return f'{value / 1000:g}k'
    return f'{value:.{self._decimals}f}'


def _grid(axis_x: _Axis, axis_y: _Axis, unit: str, x_label: str) -> str:
  """Returns the lines, numbers and words of both axes."""
  bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
  parts = []
  for value in axis_y.ticks:
    y = axis_y.place(value)
    parts.append(
      f'<line class="grid-line" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
      f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">'
      f'{axis_y.say(value)}{unit}</text>'
    )
  for value in axis_x.ticks:
    x = axis_x.place(value)
    parts.append(
      f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">'
      f'{axis_x.say(value)}</text>'
    )
  parts.append(
    f'<line class="axis-line" x1="{_LEFT}" x2="{right}" y1="{bottom}" '
    f'y2="{bottom}"/><text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 5}" '
    f'text-anchor="middle">{text(x_label)}</text>'
  )
  return '\n'.join(parts)


def _draw(
  line: Line,
  number: int,
  axis_x: _Axis,
  axis_y: _Axis,
  factor: float,
  unit: str,
) -> str:
  path, pen_down = [], False
  for x, y in zip(line.x, line.y):
    if not _finite(x, y):
      pen_down = False
      continue
    command = 'L' if pen_down else 'M'
    path.append(f'{command}{axis_x.place(x)} {axis_y.place(factor * y)}')
    pen_down = True
  drawn = f'<path class="line {_style(number)}" d="{"".join(path)}"/>'
  if not line.dots:
    return drawn
  radii, told = [_RADIUS] * len(line.x), [''] * len(line.x)
  if line.videos is not None:
    most = max(line.videos, default=1)
    radii = [
      round(max(_LARGEST * math.sqrt(n / most), _SMALLEST), 2)
      for n in line.videos
    ]
    told = [f', {count(n, "video")}' for n in line.videos]
  circles = [
    f'<circle class="dot {_colour(number)}" r="{r}" cx="{axis_x.place(x)}" '
    f'cy="{axis_y.place(factor * y)}"><title>{text(line.name)}, {x:g}: '
    f'{factor * y:.2f}{unit}{videos}</title></circle>'
    for x, y, r, videos in zip(line.x, line.y, radii, told)
    if _finite(x, y)
  ]
  return drawn + ''.join(circles)


def _colour(number: int) -> str:
  return f's{number % _COLOURS + 1}'


def _style(number: int) -> str:
  """Returns the classes of a line, closing the attribute for its dashes."""
  dashes = _DASHES[number % len(_DASHES)]
  return _colour(number) + (f'" stroke-dasharray="{dashes}' if dashes else '')


def _sample(number: int) -> str:
  return (
    '<svg viewBox="0 0 26 10" aria-hidden="true"><path class="line '
    f'{_style(number)}" d="M1 5H25"/></svg>'
  )


def _say(line: Line, factor: float, unit: str) -> str:
  """Returns a line in words: where it starts and ends."""
  points = [(x, y) for x, y in zip(line.x, line.y) if _finite(x, y)]
  if not points:
    return f'{line.name}: nothing'
  (x, y), (last_x, last_y) = points[0], points[-1]
  return (
    f'{line.name}: {factor * y:.4g}{unit} at {x:g}, '
    f'{factor * last_y:.4g}{unit} at {last_x:g}'
  )


def _finite(x: float, y: float) -> bool:
  return math.isfinite(x) and math.isfinite(y)
