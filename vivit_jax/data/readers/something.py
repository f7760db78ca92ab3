"""Something-Something v2."""

import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

_FOLDERS = ('20bn-something-something-v2/',)


def read(folder: pathlib.Path) -> Annotated:
  """Reads the owners' JSON files; a video file is `<id>.webm`.

  The files are `something-something-v2-train.json`, `-validation.json`,
  `-test.json` and `-labels.json` (or `train.json` ...): lists of objects with
  `id` and `template`; the label is the template without its brackets. Labels
  are numbered as in the labels file. Test videos take their labels from
  `test-answers.csv` (`id;label`); without it they are left out.
  """
  if not folder.is_dir():
    raise UserError(f'{folder} is not a folder: give the folder of JSON files.')
  files = tables.split_files(folder, ('.json',))
  if not files:
    raise UserError(f'{folder} has no train.json or validation.json.')
  collector, unlabelled = tables.Collector(), 0
  answers = _answers(folder)
  for split, file in files.items():
    items = text.read_json(file)
    if not isinstance(items, list):
      raise UserError(f'{file} must hold a list of videos.')
    for number, item in enumerate(items, 1):
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
      f'{folder} has no videos with labels: add test-answers.csv, or the files '
      'of train and validation.'
    )
  return Annotated(
    collector.splits,
    _label_names(folder),
    tables.unlabelled_note(unlabelled),
    understood=tuple(map(str, files.values())),
  )


def _plain(template: str) -> str:
  """'Putting [something] on [a box]' -> 'Putting something on a box'."""
  return template.replace('[', '').replace(']', '').strip()


def _answers(folder: pathlib.Path) -> dict[str, str]:
  """Returns the labels of test videos by their ids; {} without the file."""
  return {
    cells[0]: cells[1]
    for file in folder.glob('*test-answers.csv')
    for _, cells in text.lines(file, ';')
    if len(cells) > 1
  }


def _label_names(folder: pathlib.Path) -> dict[str, list[str]]:
  """Returns the labels in the order of labels.json; {} without the file."""
  for file in folder.glob('*labels.json'):
    numbers = text.read_json(file)
    try:
      pairs = [(_plain(label), int(i)) for label, i in numbers.items()]
    except (AttributeError, TypeError, ValueError):
      raise UserError(f'{file} must hold {{"label": number}}.') from None
    return {'label': tables.in_order(pairs, file)}
  return {}
