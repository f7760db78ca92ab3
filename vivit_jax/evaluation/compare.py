"""Compares two evaluations on the same examples: is B better than A?

  python -m vivit_jax.evaluation.compare A B
  python -m vivit_jax.evaluation.compare A B --out=comparison.html

A and B are folders that evaluate.py wrote, or their predictions.npz. Of each
score it prints both values, the difference B - A and its 95% bootstrap interval
(the same examples drawn for both); of shares of right examples also how many A
alone and B alone has right, and the p of McNemar's exact test; and the classes
that gain and lose most. One is called better where the interval is without 0
and, where there is a p, it is below 0.05.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from vivit_jax import commands
from vivit_jax.errors import UserError
from vivit_jax.evaluation import alignment, comparison
from vivit_jax.evaluation.comparison import ClassRow, Comparison
from vivit_jax.evaluation.predictions import Table

_HEAD = flags.DEFINE_list('head', [], 'Heads to compare; all that both have.')
_COMMON = flags.DEFINE_boolean(
  'common', False, 'Compare the examples in both, where others are there.'
)
_AVERAGE = flags.DEFINE_enum(
  'average',
  None,
  ['logits', 'probabilities'],
  'What is averaged over the views of both; else what each did.',
)
_CLASSES = flags.DEFINE_integer('classes', 8, 'Classes to print, each way.')
_OUT = flags.DEFINE_string(
  'out', None, 'A page .html, or a folder for comparison.html.'
)


def main(arguments: list[str]) -> None:
  evaluations = arguments[1:]
  if len(evaluations) != 2:
    raise UserError(
      f'give two evaluations, A and B, not {len(evaluations)}; --help shows '
      'the usage.'
    )
  if _CLASSES.value < 0:
    raise UserError(f'--classes is {_CLASSES.value}; at least 0.')
  tables = [Table.read(path) for path in evaluations]
  found = comparison.compare(
    *tables,
    heads=_HEAD.value,
    common=_COMMON.value,
    average=_AVERAGE.value,
  )
  names = [
    told(path, table.protocol)
    for path, table in zip(evaluations, tables, strict=True)
  ]
  print('\n'.join(report(found, names, _CLASSES.value)))
  if _OUT.value is not None:
    # Only now: it takes seconds, for what it knows of datasets.
    from vivit_jax.evaluation.page import compared

    out = pathlib.Path(_OUT.value)
    if out.suffix != '.html':
      out = out / 'comparison.html'
    compared.write(out, found, names)
    print(f'\nthe page: {out}')


def told(path: str, protocol: Mapping[str, Any]) -> str:
  """Returns an evaluation in words: where it is, and of what."""
  parts = [str(path)]
  if 'checkpoint' in protocol:
    parts.append(str(protocol['checkpoint']))
  if 'temporal_views' in protocol and 'spatial_crops' in protocol:
    views = f'{protocol["temporal_views"]} x {protocol["spatial_crops"]}'
    parts.append(f'{views} views')
  return ', '.join(parts)


def report(found: Comparison, names: Sequence[str], classes: int) -> list[str]:
  """Returns the lines to print.

  Args:
    found: what is compared.
    names: of A and of B.
    classes: how many to tell that gain, and that lose.
  """
  lines = [
    f'A  {names[0]}',
    f'B  {names[1]}',
    alignment.examples(found.examples),
  ]
  lines += [f'note: {note}' for note in found.notes]
  width = max(len(row.score) for row in found.rows)
  lines += [
    '',
    f'{"":{width}}{"A":>9}{"B":>9}{"B - A":>10}  {"95% interval":20}'
    f'{"only A":>8}{"only B":>8}  {"McNemar p":10}better',
  ]
  for row in found.rows:
    low, high = row.interval
    shown = f'{low:+.4f} to {high:+.4f}'
    counts, p = f'{"":16}', ''
    if row.p is not None:
      counts = f'{row.only_first:>8}{row.only_second:>8}'
      p = f'{row.p:.2g}'
    lines.append(
      f'{row.score:{width}}{row.first:>9.4f}{row.second:>9.4f}'
      f'{row.difference:>+10.4f}  {shown:20}{counts}  {p:10}'
      f'{row.better or "-"}'
    )
  for head, rows in found.classes.items():
    lines += _of_classes(head, rows, classes)
  return lines


def _of_classes(head: str, rows: Sequence[ClassRow], most: int) -> list[str]:
  """Returns the lines on the classes that gain and lose most."""
  gains = [row for row in rows if row.difference > 0][:most]
  losses = [row for row in reversed(rows) if row.difference < 0][:most]
  lines = []
  for words, chosen in (('more', gains), ('fewer', losses)):
    if not chosen:
      continue
    lines += ['', f'{head}: classes of which B has {words} right']
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
  sys.exit(commands.run(main, __doc__))
