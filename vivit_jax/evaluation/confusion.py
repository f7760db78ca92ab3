"""The picture of a confusion matrix."""

from collections.abc import Sequence

import einops
import matplotlib as mpl
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from vivit_jax import fonts

_NAMED = 40  # classes whose names still fit on the axes
_ANNOTATED = 12  # classes whose percentages still fit into the cells
_NAME_LENGTH = 28  # characters of a name on an axis


def draw(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
  """Draws a confusion matrix, each row as fractions of its examples.

  Args:
    counts: int [K, K]; rows are labels, columns predictions.
    names: K names of the classes.
    title: of the figure.

  Returns:
    A figure that pyplot does not know of; classes without examples are grey.
    To be saved within `fonts.without_warnings`: names are in any script.
  """
  with mpl.rc_context({'font.family': fonts.families()}):
    return _drawn(counts, names, title)


def _drawn(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
  """Draws it, in the fonts of matplotlib's settings."""
  classes = len(counts)
  examples = einops.reduce(counts, 'true predicted -> true 1', 'sum')
  fractions = np.ma.masked_invalid(
    np.divide(
      counts,
      examples,
      out=np.full(counts.shape, np.nan),
      where=examples > 0,
    )
  )
  # Cells hold readable text while classes are few, and some pixels at least.
  side = float(np.clip(0.3 * classes + 3.5, 5.5, 14))
  figure = Figure(figsize=(side * 1.12, side), dpi=150, layout='constrained')
  axes = figure.add_subplot()
  # Along a root, lest the rare confusions among many classes be lost to sight.
  image = axes.imshow(
    fractions,
    cmap='viridis',
    norm=PowerNorm(0.5, vmin=0, vmax=1),
    interpolation='nearest',
  )
  axes.set_facecolor('lightgrey')
  size = 9 + side / 3
  bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02, aspect=30)
  bar.set_ticks([0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
  bar.set_label('fraction of the true class (root scale)', fontsize=size)
  axes.set_title(title, fontsize=size + 2, parse_math=False)
  axes.set_xlabel('predicted class', fontsize=size)
  axes.set_ylabel('true class', fontsize=size)
  if classes <= _NAMED:
    _name_classes(axes, names)
  if classes <= _ANNOTATED:
    _annotate(axes, fractions)
  return figure


def _name_classes(axes, names: Sequence[str]) -> None:
  short = [
    name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + '…'
    for name in names
  ]
  places = range(len(short))
  # A '$' in a name is a '$', not the start of a formula.
  axes.set_xticks(places, short, rotation=90, parse_math=False)
  axes.set_yticks(places, short, parse_math=False)


def _annotate(axes, fractions: np.ma.MaskedArray) -> None:
  for (row, column), fraction in np.ndenumerate(fractions.filled(0)):
    if fraction > 0:
      axes.text(
        column,
        row,
        f'{fraction:.0%}',
        ha='center',
        va='center',
        fontsize=8,
        color='black' if fraction > 0.4 else 'white',  # readable on viridis
      )
