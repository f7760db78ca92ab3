"""Tables in Markdown, and ratios of rounds as their cells."""

import statistics
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a table; rows have as many cells as the header."""
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
  """Returns the median of the rounds' ratios, and the lowest and highest.

  Of one round it says that.

  Args:
    above: what was measured, by round.
    below: what it is divided by, in the same rounds.
  """
  ratios = [a / b for a, b in zip(above, below, strict=True)]
  if len(ratios) == 1:
    return f'{ratios[0]:.2f} (one round)'
  return (
    f'{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})'
  )


def goal(value: float, bound: str) -> str:
  """Returns a goal, '<= 0.25' for one, and whether a value reaches it."""
  relation, limit = bound.split()
  reached = {
    '>=': value >= float(limit),
    '<=': value <= float(limit),
    '<': value < float(limit),
  }[relation]
  return f'{bound}: {"reached" if reached else "missed"}'
