"""Something-Something v2."""

import os
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_FOLDERS = ('20bn-something-something-v2/',)


def read(path: str | os.PathLike) -> Annotated:
  """Reads the owners' JSON files; a video's file is `<id>.webm`.

  Args:
    path: the folder of `something-something-v2-train.json`, `-validation.json`,
      `-test.json` and `-labels.json` (or `train.json` ...): lists of objects
      with `id` and `template`, in which placeholders are in brackets. Labels
      are numbered as in the last. Or one such file. Test videos have labels
      only where `test-answers.csv` (`id;label`) is beside, and are left out
      without.

  Raises:
    UserError: files or fields that do not do.
  """
  path = pathlib.Path(path)
  folder = path if path.is_dir() else path.parent
  stem = path.stem.replace('-', '_').rpartition('_')[2]
  files = tables.split_files(path, tables.split_of(stem), '.json')
  splits, notes = {}, []
  collector = tables.Collector(splits)
  answers = _answers(folder)
  for split, file in files.items():
    split = split if split in tables.SPLIT_WORDS else 'train'
    unlabelled = 0
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
        raise UserError(f"{where} has no 'template', which is its label.")
      labels = {'label': _plain(template)}
      collector.add(
        split,
        Example(f'{identity}.webm', identity, labels, elsewhere=_FOLDERS),
        where,
      )
    if unlabelled:
      notes.append(
        f'the {unlabelled} videos of the test split have no labels, and are '
        'left out'
      )
  if not splits:
    raise UserError(
      f'{path} has no labels: it is of a test split, whose labels are in '
      'test-answers.csv; train.json and validation.json have theirs.'
    )
  return Annotated(splits, _label_names(folder), tuple(notes))


def _items(file: pathlib.Path) -> list:
  items = tables.read_json(file)
  if not isinstance(items, list) or not items:
    raise UserError(f'{file} does not hold a list of videos.')
  return items


def _plain(template: str) -> str:
  """'Putting [something] on [a box]' -> 'Putting something on a box'."""
  return template.replace('[', '').replace(']', '').strip()


def _one(folder: pathlib.Path, pattern: str) -> pathlib.Path | None:
  return next(iter(sorted(folder.glob(pattern))), None)


def _answers(folder: pathlib.Path) -> dict[str, str]:
  file = _one(folder, '*test-answers.csv')
  if file is None:
    return {}
  return {
    cells[0]: cells[1]
    for _, cells in tables.lines(file, delimiter=';')
    if len(cells) > 1
  }


def _label_names(folder: pathlib.Path) -> dict[str, list[str]]:
  """Returns the labels in the order of labels.json; {} without one."""
  file = _one(folder, '*labels.json')
  if file is None:
    return {}
  numbers = tables.read_json(file)
  try:
    places = {_plain(label): int(place) for label, place in numbers.items()}
  except (AttributeError, TypeError, ValueError):
    raise UserError(f'{file} does not hold a number of each label.') from None
  if sorted(places.values()) != list(range(len(numbers))):
    raise UserError(
      f'{file} does not number its {len(numbers)} labels from 0 to '
      f'{len(numbers) - 1}, each once.'
    )
  return {'label': sorted(places, key=places.get)}
