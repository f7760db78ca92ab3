"""Lines of text above a picture, each cut to the width that there is.

Names of videos and of labels are anybody's: long ones are shortened to what
they measure, a '$' is a '$', and what cannot be printed is a space.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from vivit_jax import fonts
from vivit_jax.inference.predictor import Ranking

_POINTS = 72  # to the inch
_LEADING = 1.45  # of a line, times its size
_SPARE = 0.98  # of the width: what is measured is not to the pixel
_MOST_CHARACTERS = 300  # of a line that are measured


@dataclasses.dataclass(frozen=True)
class Line:
  """A line, and how it is set; `size` in points."""

  text: str
  size: float
  weight: str = 'normal'
  colour: str = 'black'

  @property
  def height(self) -> float:
    """In inches."""
    return self.size * _LEADING / _POINTS


def of_heads(
  title: str, heads: Mapping[str, Ranking], width: float, guesses: int = 3
) -> list[Line]:
  """Returns a title, and what each head says.

  Args:
    title: of a line in grey.
    heads: the ranking of each.
    width: inches that a line may have.
    guesses: of each head: the first one large, the others below it.
  """
  lines = [_fitted('', title, '', Line('', 10, colour='#555555'), width)]
  for head, ranking in heads.items():
    pairs = list(zip(ranking.labels, ranking.probabilities))[:guesses]
    label, probability = pairs[0]
    large = Line('', 14, 'bold')
    name = _fitted('', head, ': ', large, width / 3).text
    lines.append(_fitted(name, label, f'  {probability:.1%}', large, width))
    if len(pairs) > 1:
      each = width / (len(pairs) - 1)
      small = Line('', 10, colour='#333333')
      others = [
        _fitted('', label, f' {probability:.1%}', small, each - 0.25).text
        for label, probability in pairs[1:]
      ]
      lines.append(dataclasses.replace(small, text='    '.join(others)))
  return lines


def height(lines: Sequence[Line]) -> float:
  """Returns inches that lines take, with the space around them."""
  return sum(line.height for line in lines) + 0.25


def draw(figure: Figure, lines: Sequence[Line], left: float) -> None:
  """Writes lines at the top of a figure, `left` inches from its edge."""
  wide, high = figure.get_size_inches()
  top = high - 0.12
  for line in lines:
    figure.text(
      left / wide,
      top / high,
      line.text,
      va='top',
      fontproperties=_font(line.size, line.weight),
      color=line.colour,
      parse_math=False,
    )
    top -= line.height


def _fitted(
  before: str, text: str, after: str, line: Line, width: float
) -> Line:
  """Returns the line of three parts, its middle cut until it fits."""
  text = _plain(text)
  low, high = 0, len(text)
  while low < high:  # as many characters as there is room for
    middle = (low + high + 1) // 2
    if _measure(before + _cut(text, middle) + after, line) > width * _SPARE:
      high = middle - 1
    else:
      low = middle
  return dataclasses.replace(line, text=before + _cut(text, low) + after)


def _cut(text: str, count: int) -> str:
  """Returns a text of so many characters, without its middle if it is longer.

  The ends of names tell them apart as often as their beginnings.
  """
  if len(text) <= count:
    return text
  end = count // 3
  return text[: count - end] + '…' + text[len(text) - end :]


def _plain(text: str) -> str:
  """Returns a text of one line without what moves or hides letters."""
  kept = (c if c.isprintable() else ' ' for c in text)
  text = ' '.join(''.join(kept).split())
  return _cut(text, _MOST_CHARACTERS)


def _measure(text: str, line: Line) -> float:
  """Returns inches that a text is wide."""
  font = _font(line.size, line.weight)
  width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
  return width / _POINTS


@functools.cache
def _font(size: float, weight: str) -> FontProperties:
  return FontProperties(family=fonts.families(), size=size, weight=weight)
