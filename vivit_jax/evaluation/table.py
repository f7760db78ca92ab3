"""The scores of several checkpoints beside each other."""

import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vivit_jax import files
from vivit_jax.evaluation.folder import Unwritable

NAME = 'scores.csv'
_PROTOCOL = ('checkpoint', 'step', 'digest', 'examples')
_PRINTED = ('/top1', '/top5', '/mAP')  # the others are in the file


def row(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a checkpoint's values by column.

  Args:
    name: of the folder of its results.
    found: what its metrics.json holds.
  """
  values: dict[str, Any] = {'results': name}
  values |= {key: found['protocol'][key] for key in _PROTOCOL}
  for key, score in found['scores'].items():
    values[key] = score
    if key in found['intervals']:
      low, high = found['intervals'][key]
      values |= {f'{key}/low': low, f'{key}/high': high}
  return values


def write(folder: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes scores.csv, a checkpoint a row.

  Args:
    folder: is made.
    rows: values by column; where one lacks a column, it is empty.

  Raises:
    Unwritable: it cannot be written.
  """
  columns = list(dict.fromkeys(name for row in rows for name in row))
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / NAME) as unfinished:
      with unfinished.open('w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
  except OSError as error:
    raise Unwritable(folder, error) from None


def lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  """Yields the table for people: accuracies of each checkpoint."""
  columns = list(dict.fromkeys(name for row in rows for name in row))
  columns = [name for name in columns if name.endswith(_PRINTED)]
  first = max(len('checkpoint'), *(len(row['results']) for row in rows))
  widths = {name: max(len(name), len('0.0000')) for name in columns}
  names = [f'{name:>{width}}' for name, width in widths.items()]
  yield '  '.join([f'{"checkpoint":<{first}}', *names])
  for values in rows:
    cells = [f'{values["results"]:<{first}}']
    for name in columns:
      value = values.get(name)
      text = '' if value is None else f'{value:.4f}'
      cells.append(f'{text:>{widths[name]}}')
    yield '  '.join(cells)
