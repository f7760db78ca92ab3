"""scores.csv: the scores of several checkpoints, one row each."""

import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vivit_jax import files
from vivit_jax.evaluation.output_dir import UnwritableOutput

_PROTOCOL = ('checkpoint', 'step', 'digest', 'examples')
_PRINTED = ('/top1', '/top5', '/mAP')  # the file has all scores


def row(name: str, results: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a checkpoint's values by column.

  `results` is the content of metrics.json in the folder `name`.
  """
  values: dict[str, Any] = {'results': name}
  values |= {key: results['protocol'][key] for key in _PROTOCOL}
  for key, score in results['scores'].items():
    values[key] = score
    if key in results['intervals']:
      values[f'{key}/low'], values[f'{key}/high'] = results['intervals'][key]
  return values


def write(
  folder: pathlib.Path,
  rows: Sequence[Mapping[str, Any]],
  name: str = 'scores.csv',
) -> None:
  """Writes a CSV file; values that a row lacks become empty cells.

  Raises:
    UnwritableOutput: the folder cannot be written.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / name) as unfinished:
      with unfinished.open('w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows(rows)
  except OSError as error:
    raise UnwritableOutput(folder, error) from None


def lines(
  rows: Sequence[Mapping[str, Any]],
  title: str = 'checkpoint',
  key: str = 'results',
) -> Iterator[str]:
  """Yields lines to print: a header, and the accuracies of each checkpoint.

  The first column has this title, and the values of `key`.
  """
  columns = [name for name in _columns(rows) if name.endswith(_PRINTED)]
  first = max(len(title), *(len(row[key]) for row in rows))
  yield '  '.join([f'{title:<{first}}', *(f'{x:>6}' for x in columns)])
  for values in rows:
    cells = [f'{values[key]:<{first}}']
    for name in columns:
      text = f'{values[name]:.4f}' if name in values else ''
      cells.append(f'{text:>{max(len(name), 6)}}')
    yield '  '.join(cells)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns the columns of all rows, in order of first appearance."""
  return list(dict.fromkeys(name for row in rows for name in row))
