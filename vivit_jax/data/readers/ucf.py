"""UCF-101 and HMDB-51; each has three ways to split into train and test."""

import os
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

_HMDB_SPLITS = {'0': None, '1': 'train', '2': 'test'}  # 0: unused


def read_ucf(path: str | os.PathLike, split_number: int = 1) -> Annotated:
  """Reads UCF-101's lists; labels are numbered as in classInd.txt.

  Args:
    path: the folder of trainlist01.txt (`class/file.avi number`),
      testlist01.txt (`class/file.avi`), ..., and classInd.txt (`number class`).
    split_number: which of the three splits.

  Raises:
    UserError: invalid files or lines.
  """
  folder = _folder(path)
  names = _class_names(folder / 'classInd.txt')
  collector = tables.Collector()
  for split in ('train', 'test'):
    file = folder / f'{split}list{split_number:02d}.txt'
    for where, cells in text.words(file):
      video = cells[0]
      label, _, name = video.partition('/')
      if not name or label not in names:
        raise UserError(
          f"{where} has the path '{video}': it must begin with a class of "
          'classInd.txt.'
        )
      example = Example(video, name, {'label': label}, (name,))
      collector.add(split, example, where)
  return Annotated(collector.splits, {'label': names})


def read_hmdb(path: str | os.PathLike, split_number: int = 1) -> Annotated:
  """Reads HMDB-51's lists; labels are numbered in alphabetical order.

  Args:
    path: the folder of `<class>_test_split<1, 2 or 3>.txt`. A line is a file
      and 1 (train), 2 (test) or 0 (unused): `file.avi 1`. A video file is
      `<class>/<file>` or `<file>`.
    split_number: which of the three splits.

  Raises:
    UserError: invalid files or lines.
  """
  folder, ending = _folder(path), f'_test_split{split_number}.txt'
  files = sorted(
    folder.glob(f'*{ending}'), key=lambda file: file.name.removesuffix(ending)
  )
  if not files:
    raise UserError(f'{folder} has no file <class>{ending}.')
  collector = tables.Collector()
  names = [file.name.removesuffix(ending) for file in files]
  for file, label in zip(files, names):
    for where, cells in text.words(file):
      if len(cells) != 2 or cells[1] not in _HMDB_SPLITS:
        raise UserError(f"{where} must be a file and 0, 1 or 2: 'file.avi 1'.")
      video, split = cells[0], _HMDB_SPLITS[cells[1]]
      if split is not None:
        identity = f'{label}/{video}'
        example = Example(identity, identity, {'label': label}, (video,))
        collector.add(split, example, where)
  splits = collector.splits
  if not splits:
    raise UserError(f'{folder} assigns no video to train or test.')
  return Annotated(
    {split: splits[split] for split in ('train', 'test') if split in splits},
    {'label': names},
  )


def _folder(path: str | os.PathLike) -> pathlib.Path:
  path = pathlib.Path(path)
  if not path.is_dir():
    raise UserError(
      f"{path} is not a folder: give the folder of the owners' split lists."
    )
  return path


def _class_names(file: pathlib.Path) -> list[str]:
  """Returns the class names of classInd.txt, in the order of their numbers."""
  numbers = {}
  for where, cells in text.words(file):
    if len(cells) != 2 or not cells[0].isdecimal():
      raise UserError(f"{where} must be a number and a class: '7 Archery'.")
    numbers[cells[1]] = int(cells[0])
  return tables.in_order(numbers, file, first=1)
