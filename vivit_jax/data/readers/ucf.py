"""UCF-101 and HMDB-51, which have three splits into train and test each."""

import os
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_HMDB_SPLITS = {'0': None, '1': 'train', '2': 'test'}  # 0: in neither


def read_ucf(path: str | os.PathLike, split_number: int = 1) -> Annotated:
  """Reads UCF-101's lists; labels are numbered as in classInd.txt.

  Args:
    path: the folder of trainlist01.txt (`class/file.avi number`),
      testlist01.txt (`class/file.avi`), ..., and classInd.txt (`number class`).
    split_number: which of the three splits.

  Raises:
    UserError: files or lines that do not do.
  """
  folder = _folder(path)
  names = _class_names(folder / 'classInd.txt')
  splits = {}
  collector = tables.Collector(splits)
  for split in ('train', 'test'):
    file = folder / f'{split}list{split_number:02d}.txt'
    for where, cells in tables.words(file):
      video = cells[0]
      label, _, name = video.partition('/')
      if not name or label not in names:
        raise UserError(
          f"{where} has the path '{video}', which does not begin with a class "
          'of classInd.txt.'
        )
      if len(cells) > 1 and cells[1] != str(names.index(label) + 1):
        raise UserError(
          f"{where} numbers '{label}' as {cells[1]}, but classInd.txt as "
          f'{names.index(label) + 1}.'
        )
      example = Example(video, name, {'label': label}, elsewhere=(name,))
      collector.add(split, example, where)
  return Annotated(splits, {'label': names})


def read_hmdb(path: str | os.PathLike, split_number: int = 1) -> Annotated:
  """Reads HMDB-51's lists; labels are numbered in alphabetical order.

  Args:
    path: the folder of `<class>_test_split<1, 2 or 3>.txt`, whose lines are
      `file.avi 1` for train, 2 for test, and 0 for neither. A video's file is
      `<class>/<file>`, or `<file>`.
    split_number: which of the three splits.

  Raises:
    UserError: files or lines that do not do.
  """
  folder, ending = _folder(path), f'_test_split{split_number}.txt'
  files = sorted(
    folder.glob(f'*{ending}'), key=lambda file: file.name.removesuffix(ending)
  )
  if not files:
    raise UserError(f'{folder} has no files <class>{ending}.')
  splits = {}
  collector = tables.Collector(splits)
  names = [file.name.removesuffix(ending) for file in files]
  for file, label in zip(files, names):
    for where, cells in tables.words(file):
      if len(cells) != 2 or cells[1] not in _HMDB_SPLITS:
        raise UserError(f"{where} is not a file and 0, 1 or 2: 'file.avi 1'.")
      video, split = cells[0], _HMDB_SPLITS[cells[1]]
      if split is not None:
        example = Example(
          f'{label}/{video}', f'{label}/{video}', {'label': label}, (video,)
        )
        collector.add(split, example, where)
  if not splits:
    raise UserError(f'{folder} has no videos of train or test.')
  return Annotated(
    {split: splits[split] for split in ('train', 'test') if split in splits},
    {'label': names},
  )


def _folder(path: str | os.PathLike) -> pathlib.Path:
  path = pathlib.Path(path)
  if not path.is_dir():
    raise UserError(
      f"{path} is no folder: give that of the owners' lists of splits."
    )
  return path


def _class_names(file: pathlib.Path) -> list[str]:
  """Returns the classes of classInd.txt, in its order."""
  names = []
  for where, cells in tables.words(file):
    if len(cells) != 2 or cells[0] != str(len(names) + 1):
      raise UserError(
        f'{where} is not the number {len(names) + 1} and its class.'
      )
    names.append(cells[1])
  if not names or len(set(names)) < len(names):
    raise UserError(f'{file} does not name each class once.')
  return names
