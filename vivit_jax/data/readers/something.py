"""Something-Something v2."""

import os
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

_FOLDERS = ('20bn-something-something-v2/',)


def read(path: str | os.PathLike) -> Annotated:
  """Reads the owners' JSON files; a video file is `<id>.webm`.

  A JSON file is a list of objects with `id` and `template`; the label is the
  template without its brackets. Labels are numbered as in the labels file. Test
  videos take their labels from `test-answers.csv` (`id;label`) in the same
  folder; without it they are left out.

  Args:
    path: the folder of `something-something-v2-train.json`, `-validation.json`,
      `-test.json` and `-labels.json` (or `train.json` ...).

  Raises:
    UserError: invalid files or fields.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise UserError(f'{path} is not a folder: give the folder of JSON files.')
  files = tables.split_files(folder, '.json')
  collector, unlabelled = tables.Collector(), 0
  answers = _answers(folder)
  for split, file in files.items():
    for number, item in enumerate(_items(file), 1):
      where = f'{file} item {number}'
      if not isinstance(item, dict) or not str(item.get('id', '')):
        raise UserError(f"{where} has no 'id'.")
      identity = str(item['id'])
      template = item.get('template') or answers.get(identity)
      if not template and split == 'test':
        unlabelled += 1
        continue
      if not isinstance(template, str):
        raise UserError(f"{where} has no label in 'template'.")
      labels = {'label': _plain(template)}
      example = Example(f'{identity}.webm', identity, labels, _FOLDERS)
      collector.add(split, example, where)
  if not collector.splits:
    raise UserError(
      f'{path} has a test split only, which has no labels: add '
      'test-answers.csv, or the files of train and validation.'
    )
  note = f'{unlabelled} test videos have no labels and are left out'
  notes = (note,) if unlabelled else ()
  return Annotated(
    collector.splits,
    _label_names(folder),
    notes,
    understood=tuple(map(str, files.values())),
  )


def _items(file: pathlib.Path) -> list:
  items = text.read_json(file)
  if not isinstance(items, list) or not items:
    raise UserError(f'{file} must hold a list of videos.')
  return items


def _plain(template: str) -> str:
  """'Putting [something] on [a box]' -> 'Putting something on a box'."""
  return template.replace('[', '').replace(']', '').strip()


def _first_match(folder: pathlib.Path, pattern: str) -> pathlib.Path | None:
  return next(iter(sorted(folder.glob(pattern))), None)


def _answers(folder: pathlib.Path) -> dict[str, str]:
  """Returns the labels of test videos by their ids; {} without the file."""
  file = _first_match(folder, '*test-answers.csv')
  if file is None:
    return {}
  return {
    cells[0]: cells[1] for _, cells in text.lines(file, ';') if len(cells) > 1
  }


def _label_names(folder: pathlib.Path) -> dict[str, list[str]]:
  """Returns the labels in the order of labels.json; {} without the file."""
  file = _first_match(folder, '*labels.json')
  if file is None:
    return {}
  numbers = text.read_json(file)
  try:
    indices = {_plain(label): int(index) for label, index in numbers.items()}
  except (AttributeError, TypeError, ValueError):
    raise UserError(f'{file} must hold {{"label": number}}.') from None
  return {'label': tables.in_order(indices, file)}
