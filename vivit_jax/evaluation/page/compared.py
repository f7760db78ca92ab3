"""Two evaluations side by side, on one page that needs nothing but itself."""

import os
import pathlib
from collections.abc import Sequence

from vivit_jax import files
from vivit_jax.errors import UserError
from vivit_jax.evaluation.comparison import ClassRow, Comparison, Row
from vivit_jax.evaluation.page import classes, scores
from vivit_jax.evaluation.page.document import (
  count,
  document,
  name,
  section,
  table,
  text,
)

_COLUMNS = (
  'score',
  'A',
  'B',
  'B − A',
  '95% interval',
  'only A right',
  'only B right',
  'p',
  'better',
)
_MOST = 1000  # classes of a head, those that change most


def write(
  path: str | os.PathLike, found: Comparison, names: Sequence[str]
) -> None:
  """Writes the page, whole or not at all; its folder is made if absent.

  Args:
    path: of the file.
    found: what is compared.
    names: of A and of B.

  Raises:
    UserError: a file that cannot be written.
  """
  path = pathlib.Path(path)
  page = render(found, names)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
      temporary.write_text(page, encoding='utf-8', newline='\n')
  except OSError as error:
    raise UserError(
      f'the page cannot be written to {path} ({error.strerror or error}): '
      'choose another with --out.'
    ) from None


def render(found: Comparison, names: Sequence[str]) -> str:
  """Returns the page as HTML."""
  header = (
    '<h1>B against A</h1>\n'
    + ''.join(
      f'<p><strong>{letter}</strong> {name(words)}</p>\n'
      for letter, words in zip('AB', names, strict=True)
    )
    + f'<p class="quiet">{text(count(found.examples, "video"))}, the same of '
    'both</p>\n'
    + ''.join(
      f'<p class="quiet">Note: {text(note)}.</p>' for note in found.notes
    )
  )
  parts = [section('Scores', _scores(found.rows), 'scores')]
  for number, (head, rows) in enumerate(found.classes.items()):
    anchor = f'head-{number}'
    title = 'Classes' if len(found.classes) == 1 else f'Head {name(head)}'
    parts.append(section(title, _classes(rows, anchor), anchor))
  return document('B against A', header, '\n'.join(parts))


def _scores(rows: Sequence[Row]) -> str:
  return (
    '<p class="quiet">In percent, and points of it. The 95% interval tells how '
    'far the difference may be off by the chance of which videos there are '
    '(bootstrap, the same videos drawn for both); p is of McNemar&#x27;s '
    'exact test, from the videos that one alone has right. One is called '
    'better where the interval is without 0 and p, if there is one, below '
    '0.05.</p>\n'
    '<div class="card">'
    + table(
      _COLUMNS, [_score(row) for row in rows], 'scores of both', numbers=8
    )
    + '</div>'
  )


def _score(row: Row) -> str:
  low, high = row.interval
  counted = row.p is not None
  cells = [
    f'{100 * row.first:.2f}',
    f'{100 * row.second:.2f}',
    _signed(100 * row.difference),
    f'{_signed(100 * low)} to {_signed(100 * high)}',
    f'{row.only_first:,}' if counted else '',
    f'{row.only_second:,}' if counted else '',
    f'{row.p:.2g}' if counted else '',
  ]
  return (
    f'<tr><th scope="row">{scores.said(row.score)}</th>'
    + ''.join(f'<td class="number">{cell}</td>' for cell in cells)
    + f'<td class="number">{row.better or "no telling"}</td></tr>'
  )


def _classes(rows: Sequence[ClassRow], anchor: str) -> str:
  """Returns a card with the classes, the largest gains first."""
  if len(rows) > _MOST:
    kept = sorted(rows, key=lambda row: -abs(row.difference))[:_MOST]
    rows = sorted(kept, key=lambda row: -row.difference)
  whole = all(isinstance(row.first, int) for row in rows)
  told = 'videos that are right' if whole else 'average precision, in percent'
  tools = classes.tools(
    anchor + '-classes',
    {
      'high': 'largest gain first',
      'low': 'largest loss first',
      'many': 'most videos first',
      'name': 'by name',
    },
  )
  return (
    f'<div class="card long"><p class="quiet">Of each class, {told}. Of many '
    'classes, some differ by chance alone.</p>'
    + tools
    + table(
      ('class', 'A', 'B', 'B − A', 'videos'),
      [_class(row, whole) for row in rows],
      'differences of each class',
      numbers=4,
      anchor=f'{anchor}-classes',
    )
    + '</div>'
  )


def _class(row: ClassRow, whole: bool) -> str:
  if whole:
    values = f'{row.first:,}', f'{row.second:,}', _signed(row.difference, 0)
  else:
    values = (
      f'{100 * row.first:.1f}',
      f'{100 * row.second:.1f}',
      _signed(100 * row.difference, 1),
    )
  kind = 'up' if row.difference > 0 else 'down' if row.difference < 0 else ''
  return (
    f'<tr data-value="{row.difference:.6f}" data-count="{row.count}">'
    f'<th scope="row"><span class="name">{name(row.name)}</span></th>'
    f'<td class="number">{values[0]}</td><td class="number">{values[1]}</td>'
    f'<td class="number"><span class="{kind}">{values[2]}</span></td>'
    f'<td class="number">{row.count:,}</td></tr>'
  )


def _signed(value: float, digits: int = 2) -> str:
  """Returns '+1.20', '−0.30'; '0.00' has no sign."""
  shown = f'{value:+.{digits}f}'
  if not float(shown):
    return shown[1:]
  return shown.replace('-', '−')
