"""Labels in TFRecords of tf.SequenceExample, from DMVR or MediaSequence."""

import fnmatch
import pathlib
from collections.abc import Mapping, Sequence

from vivit_jax.data import tfrecords
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

_INDEX = 'clip/label/index'
_NAMES = ('clip/label/string', 'clip/label/text')  # MediaSequence's, DMVR's


def read(
  videos: pathlib.Path,
  path: pathlib.Path | None = None,
  label_names: Mapping[str, Sequence[str]] | None = None,
) -> Annotated:
  """Reads the labels of all records; a record is a video.

  `clip/label/string` (or `clip/label/text`) holds a label's name, and
  `clip/label/index` its number. If a record has only the number, the name comes
  from `label_names`, or else is the number. If any record has several labels,
  the head is multi-label.

  Args:
    videos: the folder of TFRecord files; their paths name their splits, as in
      `tables.split_in`.
    path: a JSON file that assigns files to splits instead:
      `{"train": "k400-train.rgb.tfrecord@1024", "test": "part-*.tfrecord"}`.
    label_names: `{'label': names}`, or None.
  """
  existing = sorted(
    file.relative_to(videos).as_posix()
    for file in videos.rglob('*')
    if file.is_file()
  )
  if path is None:
    named = [(tables.split_in(file), file) for file in existing]
    files = {
      split: [file for of_file, file in named if of_file == split]
      for split in tables.SPLIT_WORDS
    }
  else:
    files = _assigned(path, existing)
  records = [
    (split, file, offset, *_label(videos / file, offset, context))
    for split, split_files in files.items()
    for file in split_files
    for offset, context in tfrecords.contexts(videos / file)
  ]
  if not records:
    raise UserError(
      f"{videos} has no file with 'train', 'validation' or 'test' as a word of "
      'its name: assign files to splits in a JSON file, {"train": '
      '"part-*.tfrecord"}, and give it as --annotations.'
    )
  names = _label_names(records, (label_names or {}).get('label'), videos)
  multi = any(len(indices or strings) != 1 for *_, indices, strings in records)
  collector = tables.Collector()
  for split, file, offset, indices, strings in records:
    labels = strings or tuple(names[index] for index in indices)
    label = labels if multi else labels[0]
    identity = f'{file}@{offset}'
    example = Example(file, identity, {'label': label}, record=offset)
    collector.add(split, example, str(videos / file))
  return Annotated(collector.splits, {'label': names} if names else {})


def _assigned(path: pathlib.Path, files: Sequence[str]) -> dict[str, list[str]]:
  """Returns the files of each split that a JSON file of patterns selects."""
  patterns = text.read_json(path)
  if not isinstance(patterns, dict):
    raise UserError(f'{path} must hold {{"split": "pattern"}}.')
  selected = {}
  for split, pattern in patterns.items():
    # 'name@2' stands for two shards: name-00000-of-00002 ...
    name, _, shards = str(pattern).partition('@')
    if shards.isdecimal():
      pattern = f'{name}-?????-of-{int(shards):05d}'
    selected[split] = fnmatch.filter(files, str(pattern))
    count = len(selected[split])
    if not count or (shards.isdecimal() and count != int(shards)):
      raise UserError(
        f"{path} has '{patterns[split]}' for the split '{split}', which "
        f'matches {count} files in the folder of videos.'
      )
  return selected


def _label(
  path: pathlib.Path, offset: int, context: Mapping[str, tfrecords.Values]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
  """Returns the indices and the names of a record's labels."""
  indices = tuple(context.get(_INDEX, ()))
  strings = next((context[name] for name in _NAMES if name in context), ())
  if not indices and not strings:
    raise UserError(
      f'{path}: the record at byte {offset} has neither {_INDEX} nor '
      f'{_NAMES[0]}; it has {", ".join(sorted(context)) or "nothing"}.'
    )
  wrong = not all(isinstance(i, int) and 0 <= i < 1 << 20 for i in indices)
  wrong = wrong or not all(isinstance(name, bytes) for name in strings)
  if wrong or (indices and strings and len(indices) != len(strings)):
    raise UserError(
      f'{path}: the record at byte {offset} has invalid label numbers or names '
      f'in {_INDEX} and {_NAMES[0]}.'
    )
  return indices, tuple(name.decode('utf-8', 'replace') for name in strings)


def _label_names(
  records: Sequence[tuple], given: Sequence[str] | None, videos: pathlib.Path
) -> list[str]:
  """Returns the label names in the order of indices; [] without indices."""
  name_of, highest = {}, -1
  for *_, indices, strings in records:
    highest = max(highest, *indices, -1)
    for index, name in zip(indices, strings):
      if name_of.setdefault(index, name) != name:
        raise UserError(
          f"{videos} has records in which both '{name_of[index]}' and "
          f"'{name}' are label {index}."
        )
  if given is None or highest < 0:
    return [name_of.get(index, str(index)) for index in range(highest + 1)]
  if highest >= len(given):
    raise UserError(
      f'{videos} has a record of label {highest}, but --label_names has '
      f'{len(given)} names.'
    )
  return list(given)
