"""Kinetics-400, 600 and 700."""

import functools
import pathlib
from collections.abc import Sequence

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

_COPIES = ('videos_{}/', '{}_256/')  # mmaction2's folders, Facebook's
_REPLACEMENT = 'replacement/replacement_for_corrupted_k400/'


def read(path: pathlib.Path, heads: Sequence[str] = ('label',)) -> Annotated:
  """Reads annotations in Kinetics' layout.

  A video file is `<youtube_id>_<start:06d>_<end:06d>.mp4`. It is in the folder
  of videos, or in subfolders named after the split, the label, or both
  (split/label), as CVDF, mmaction2 and Facebook's copies have them. A test
  split without labels is left out.

  Args:
    path: a CSV file with the columns youtube_id, time_start, time_end
      (seconds), split and `heads`; or a folder of train.csv, validate.csv (or
      val.csv, validation.csv) and test.csv.
    heads: label columns; each becomes a head of the model.
  """
  files = tables.split_files(path, ('.csv',))
  if not files:
    raise UserError(f'{path} has no train.csv, validate.csv or test.csv.')
  unlabelled = 0

  def example(split: str, where: str, cells: tables.Cells) -> Example | None:
    nonlocal unlabelled
    labels = {head: cells.get(head) for head in heads}
    if split == 'test' and not any(labels.values()):
      unlabelled += 1
      return None
    for head, label in labels.items():
      if not label:
        raise UserError(f"{where} has no value in column '{head}'.")
    name = _name(where, cells)
    folders = _folders(split, cells.get('label', ''))
    return Example(f'{name}.mp4', name, labels, folders)

  columns = ('youtube_id', 'time_start', 'time_end')
  splits = tables.read_splits(files, columns, example)
  if not splits:
    raise UserError(
      f'{path} has a test split only, which has no labels: add the files of '
      'train and validation.'
    )
  return Annotated(
    splits,
    notes=tables.unlabelled_note(unlabelled),
    understood=tuple(f'{f} ({text.form(f)})' for f in files.values()),
  )


def _name(where: str, cells: tables.Cells) -> str:
  times = cells['time_start'], cells['time_end']
  start, end = (int(tables.seconds(time, where)) for time in times)
  if not start < end:
    raise UserError(
      f'{where} has time_start {start} and time_end {end}: the end must be '
      'after the start.'
    )
  return f'{cells["youtube_id"]}_{start:06d}_{end:06d}'


@functools.cache  # one tuple per label, not per video
def _folders(split: str, label: str) -> tuple[str, ...]:
  """Returns the folders that may hold a video, each with a final slash."""
  label = label.replace('/', '_')
  underscores = label.replace(' ', '_')
  hyphens = underscores.replace('(', '-').replace(')', '-')  # mmaction2's
  classes = dict.fromkeys((label, underscores, hyphens)) if label else ()
  below = ['', *(f'{name}/' for name in classes)]
  words = (
    ('val', 'validate', 'validation') if split == 'validation' else (split,)
  )
  above = ['', *(f'{word}/' for word in words)]
  above += [form.format(words[0]) for form in _COPIES]
  # CVDF's replacements are of files that are damaged in its other folders.
  return _REPLACEMENT, *(a + b for a in above for b in below if a + b)
