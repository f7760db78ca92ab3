"""TFRecords of tf.SequenceExample, as DMVR and MediaSequence write them."""

import fnmatch
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from vivit_jax.data import tfrecords
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

FRAMES = 'image/encoded'
_INDEX = 'clip/label/index'
_NAMES = ('clip/label/string', 'clip/label/text')  # MediaSequence's, DMVR's


def read(
  videos: str | os.PathLike,
  path: str | os.PathLike | None = None,
  label_names: Mapping[str, Sequence[str]] | None = None,
) -> Annotated:
  """Reads the labels of all records; one is a video.

  Labels are `clip/label/string` (or `clip/label/text`), numbered as
  `clip/label/index`; where there is only the number, its place in
  `label_names` says the name, which is else the number itself. Records with
  several labels make a head with many labels a video.

  Args:
    videos: the folder of the files. One with 'train', 'val', 'validation' or
      'test' as a word of its name is of that split.
    path: a JSON file that says instead which files each split has:
      `{"train": "k400-train.rgb.tfrecord@1024"}`, or with a pattern,
      `"part-*.tfrecord"`.
    label_names: `{'label': names}`, or None.

  Raises:
    UserError: files or records that do not do.
  """
  videos = pathlib.Path(videos)
  there = sorted(
    file.relative_to(videos).as_posix()
    for file in videos.rglob('*')
    if file.is_file()
  )
  if path is None:
    files = {split: _named(split, there) for split in tables.SPLIT_WORDS}
  else:
    files = _listed(pathlib.Path(path), there)
  found = [
    (split, file, at, *_label(videos / file, at, context))
    for split, of_split in files.items()
    for file in of_split
    for at, context in tfrecords.contexts(videos / file)
  ]
  if not found:
    raise UserError(
      f"{videos} has no file whose name has 'train', 'validation' or 'test' as "
      'a word: say which are of which split in a JSON file, {"train": '
      '"part-*.tfrecord"}, as --annotations.'
    )
  names = _numbered(found, (label_names or {}).get('label'), videos)
  many = any(len(indexes or strings) != 1 for *_, indexes, strings in found)
  splits = {}
  collector = tables.Collector(splits)
  for split, file, at, indexes, strings in found:
    labels = strings or tuple(names[index] for index in indexes)
    label = labels if many else labels[0]
    example = Example(file, f'{file}@{at}', {'label': label}, record=at)
    collector.add(split, example, str(videos / file))
  return Annotated(splits, {'label': names} if names else {})


def _named(split: str, files: Sequence[str]) -> list[str]:
  words = '|'.join(tables.SPLIT_WORDS[split])
  return [
    file
    for file in files
    if re.search(rf'(?<![A-Za-z])({words})(?![A-Za-z])', file)
  ]


def _listed(path: pathlib.Path, files: Sequence[str]) -> dict[str, list[str]]:
  patterns = tables.read_json(path)
  if not isinstance(patterns, dict):
    raise UserError(f'{path} does not hold a pattern of each split.')
  found = {}
  for split, pattern in patterns.items():
    tables.check_split(split, str(path))
    # 'name@2' is how sharded files are written: name-00000-of-00002 ...
    name, _, shards = str(pattern).partition('@')
    if shards.isdecimal():
      pattern = f'{name}-?????-of-{int(shards):05d}'
    found[split] = fnmatch.filter(files, str(pattern))
    count = len(found[split])
    if not count or (shards.isdecimal() and count != int(shards)):
      raise UserError(
        f"{path} has '{patterns[split]}' for the split '{split}', of which "
        f'there are {count} files in the folder of videos.'
      )
  return found


def _label(
  path: pathlib.Path, at: int, context: Mapping[str, tfrecords.Values]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
  """Returns the indexes and the names of a record's labels."""
  indexes = tuple(context.get(_INDEX, ()))
  strings = next((context[name] for name in _NAMES if name in context), ())
  if not indexes and not strings:
    raise UserError(
      f'{path} has a record at byte {at} with neither {_INDEX} nor '
      f'{_NAMES[0]}; it has {", ".join(sorted(context)) or "nothing"}.'
    )
  wrong = not all(isinstance(i, int) and 0 <= i < 1 << 20 for i in indexes)
  wrong = wrong or not all(isinstance(name, bytes) for name in strings)
  if wrong or (indexes and strings and len(indexes) != len(strings)):
    raise UserError(
      f'{path} has a record at byte {at} whose {_INDEX} and {_NAMES[0]} are no '
      'numbers and names of labels.'
    )
  return indexes, tuple(name.decode('utf-8', 'replace') for name in strings)


def _numbered(
  found: Sequence[tuple], given: Sequence[str] | None, videos: pathlib.Path
) -> list[str]:
  """Returns the labels' names by their numbers; [] where there are none."""
  pairs = {}
  for *_, indexes, strings in found:
    for place, index in enumerate(indexes):
      name = strings[place] if strings else None
      name = pairs.get(index) if name is None else name
      if pairs.setdefault(index, name) not in (None, name):
        raise UserError(
          f"{videos} has records that number both '{pairs[index]}' and "
          f"'{name}' as {index}."
        )
      pairs[index] = name
  if not pairs:
    return []
  names = list(given or ())
  if given is not None and max(pairs) >= len(names):
    raise UserError(
      f'{videos} has a record of label {max(pairs)}, but there are '
      f'{len(names)} names in --label_names.'
    )
  for index in range(len(names), max(pairs) + 1):
    names.append(pairs.get(index) or str(index))
  return names
