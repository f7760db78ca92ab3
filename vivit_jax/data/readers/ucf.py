"""UCF-101 and HMDB-51; each has three ways to split into train and test."""

import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

_HMDB_SPLITS = {'0': None, '1': 'train', '2': 'test'}  # 0: unused


def read_ucf(folder: pathlib.Path, split_number: int = 1) -> Annotated:
  """Reads UCF-101's lists; labels are numbered as in classInd.txt.

  The folder has trainlist01.txt (`class/file.avi number`), testlist01.txt
  (`class/file.avi`), ..., and classInd.txt (`number class`). `split_number` is
  which of the three splits to read.
  """
  file, numbers = folder / 'classInd.txt', []
  for where, line in text.plain_lines(file):
    number, *label = line.split()
    numbers.append((' '.join(label), tables.whole(number, where)))
  names = tables.in_order(numbers, file, first=1)
  collector = tables.Collector()
  for split in ('train', 'test'):
    file = folder / f'{split}list{split_number:02d}.txt'
    for where, line in text.plain_lines(file):
      video = line.split()[0]
      label, _, name = video.partition('/')
      if not name or label not in names:
        raise UserError(
          f"{where} has the path '{video}': it must begin with a class of "
          'classInd.txt.'
        )
      example = Example(video, name, {'label': label}, (name,))
      collector.add(split, example, where)
  return Annotated(collector.splits, {'label': names})


def read_hmdb(folder: pathlib.Path, split_number: int = 1) -> Annotated:
  """Reads HMDB-51's lists; labels are numbered in alphabetical order.

  The folder has `<class>_test_split<1, 2 or 3>.txt`. A line is a file and 1
  (train), 2 (test) or 0 (unused): `file.avi 1`. A video file is
  `<class>/<file>` or `<file>`. `split_number` is which of the three splits to
  read.
  """
  ending = f'_test_split{split_number}.txt'
  names = sorted(p.name.removesuffix(ending) for p in folder.glob(f'*{ending}'))
  collector = tables.Collector()
  for label in names:
    for where, line in text.plain_lines(folder / f'{label}{ending}'):
      video, which = line.rsplit(maxsplit=1) if ' ' in line else (line, '')
      if which not in _HMDB_SPLITS:
        raise UserError(f"{where} must be a file and 0, 1 or 2: 'file.avi 1'.")
      if (split := _HMDB_SPLITS[which]) is not None:
        identity = f'{label}/{video}'
        example = Example(identity, identity, {'label': label}, (video,))
        collector.add(split, example, where)
  splits = collector.splits
  if not splits:
    raise UserError(
      f'{folder} has no file <class>{ending} with videos of train or test: '
      "give the folder of the owners' split lists as --annotations."
    )
  return Annotated(
    {split: splits[split] for split in ('train', 'test') if split in splits},
    {'label': names},
  )
