"""Compares two evaluations of the same examples: is B better than A?

  python -m vivit_jax.evaluation.compare A B
  python -m vivit_jax.evaluation.compare A B --out=comparison.html

A and B are output folders of evaluate.py, or their predictions.npz.
docs/evaluation.md explains what is printed.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from vivit_jax import commands, files
from vivit_jax.errors import UserError
from vivit_jax.evaluation import alignment, comparison
from vivit_jax.evaluation.comparison import ClassRow, Comparison, Row
from vivit_jax.evaluation.predictions import Table

_CLASSES = 8  # printed of each head with the largest gains, and losses


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_list('head', [], 'Heads to compare; default: all shared.')
  flags.DEFINE_boolean('common', False, 'Compare the shared examples only.')
  flags.DEFINE_enum(
    'average',
    None,
    ['logits', 'probabilities'],
    "Average over views, for both; default: each evaluation's own.",
  )
  flags.DEFINE_string(
    'out', None, 'HTML file to write, or a folder for comparison.html.'
  )


def main(arguments: list[str]) -> None:
  evaluations = arguments[1:]
  if len(evaluations) != 2:
    raise UserError(
      f'give two evaluations, A and B, not {len(evaluations)}; --help shows '
      'the usage.'
    )
  values = flags.FLAGS
  tables = [Table.read(path) for path in evaluations]
  results = comparison.compare(
    *tables, heads=values.head, common=values.common, average=values.average
  )
  names = [
    '{}, {checkpoint}, {temporal_views} x {spatial_crops} views'.format(
      path, **table.protocol
    )
    for path, table in zip(evaluations, tables, strict=True)
  ]
  print('\n'.join(render(results, names)))
  if values.out is not None:
    # Imported late: the page's dependencies take seconds.
    from vivit_jax.evaluation.page import compared

    out = pathlib.Path(values.out)
    if out.suffix != '.html':
      out = out / 'comparison.html'
    with files.writing(out) as unfinished:
      page = compared.render(results, names)
      unfinished.write_text(page, encoding='utf-8', newline='\n')
    print(f'\nthe page: {out}')


def render(results: Comparison, names: Sequence[str]) -> list[str]:
  """Returns a comparison as lines of text; `names` describe A and B."""
  width = max(len(row.score) for row in results.rows)
  lines = [
    f'A  {names[0]}',
    f'B  {names[1]}',
    alignment.examples(results.examples),
    *(f'note: {note}' for note in results.notes),
    '',
    f'{"":{width}}{"A":>9}{"B":>9}{"B - A":>10}  {"95% interval":20}'
    f'{"only A":>8}{"only B":>8}  {"McNemar p":10}better',
    *(_line(row, width) for row in results.rows),
  ]
  for head, rows in results.classes.items():
    lines += _class_lines(head, rows)
  return lines


def _line(row: Row, width: int) -> str:
  low, high = row.interval
  interval = f'{low:+.4f} to {high:+.4f}'
  counts, p = f'{"":16}', ''
  if row.p is not None:
    counts = f'{row.only_first:>8}{row.only_second:>8}'
    p = f'{row.p:.2g}'
  return (
    f'{row.score:{width}}{row.first:>9.4f}{row.second:>9.4f}'
    f'{row.difference:>+10.4f}  {interval:20}{counts}  {p:10}'
    f'{row.better or "-"}'
  )


def _class_lines(head: str, rows: Sequence[ClassRow]) -> list[str]:
  """Returns lines for the classes with the largest gains and losses."""
  gains = [row for row in rows if row.difference > 0][:_CLASSES]
  losses = [row for row in reversed(rows) if row.difference < 0][:_CLASSES]
  lines = []
  for better, chosen in (('B', gains), ('A', losses)):
    if not chosen:
      continue
    lines += ['', f'{head}: classes where {better} is better']
    width = min(max(len(row.name) for row in chosen), 40)
    for row in chosen:
      name = row.name if len(row.name) <= width else row.name[: width - 1] + '…'
      if isinstance(row.first, int):
        values = f'{row.first:>6}{row.second:>6}{row.difference:>+6}'
      else:
        values = f'{row.first:>8.4f}{row.second:>8.4f}{row.difference:>+9.4f}'
      lines.append(f'  {name:{width}}{values}  of {row.count}')
  return lines


if __name__ == '__main__':
  define_flags()
  sys.exit(commands.run(main, __doc__))
