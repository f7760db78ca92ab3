"""Annotations of a dataset: examples, splits and label names.

`vivit_jax.data.readers` reads them from the files that a dataset's owners
distribute. Functions raise UserError for invalid annotations.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vivit_jax.errors import UserError, nearest

Label = str | tuple[str, ...]  # a tuple for a multi-label head


@dataclasses.dataclass(frozen=True)
class Example:
  """One annotated video, or one segment of a video."""

  # Video file, folder of frames, or file of records; relative to the folder of
  # videos, with slashes.
  path: str
  id: str  # unique in its split
  labels: Mapping[str, Label]  # of each head
  # Other paths to try if `path` does not exist, in this order. A path that ends
  # with a slash is a folder for the file name of `path`.
  alternatives: tuple[str, ...] = ()
  start: float | None = None  # of the segment, in seconds
  end: float | None = None  # exclusive
  # First and last frame number of the segment: in a folder of frames, those of
  # the file names; in a video without `start` and `end`, counted from 0.
  frames: tuple[int | None, int | None] | None = None
  # Frames per second of a folder of frames, if known; its segment is then given
  # by `start` and `end`.
  frames_rate: float | None = None
  record: int | None = None  # byte offset in a file of records


Splits = dict[str, list[Example]]


@dataclasses.dataclass(frozen=True)
class Annotated:
  """The annotations of a dataset, as a reader returns them."""

  splits: Splits  # in the owners' order
  # In the order of the owners' numbers; empty if they number no labels.
  label_names: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()  # what was left out, and why
  understood: tuple[str, ...] = ()  # which files were read, and as what


def label_maps(
  splits: Splits,
  label_names: Mapping[str, Sequence[str]] | None = None,
  origin: str = 'the given label names',
) -> dict[str, list[str]]:
  """Returns the label names of each head, in the order of their indices.

  Args:
    splits: the examples; all have the same heads.
    label_names: the names of each head, in order. None for the labels of the
      split 'train' (without it, of all splits), sorted: as numbers if all are
      integers.
    origin: where `label_names` come from, for errors.
  """
  heads = sorted(next(iter(splits.values()))[0].labels)
  if label_names is None:
    known = splits.get('train') or [e for es in splits.values() for e in es]
    origin = "the split 'train'"
    maps = {head: _sorted_labels(_labels_in(head, known)) for head in heads}
  else:
    if sorted(label_names) != heads:
      raise UserError(
        f'{origin} have the heads {", ".join(sorted(label_names))}, but '
        f'the annotations have {", ".join(heads)}.'
      )
    maps = {head: list(label_names[head]) for head in heads}
  for head, names in maps.items():
    if not names:
      raise UserError(
        f"no video has a label of the head '{head}': add labels, or remove the "
        'column.'
      )
  for split, examples in splits.items():
    for head, names in maps.items():
      unknown = _labels_in(head, examples).difference(names)
      if unknown:
        label = min(unknown)
        raise UserError(
          f"the split '{split}' has the {head} '{label}', which is not in "
          f'{origin}.{nearest(label, names)}'
        )
  return maps


def _sorted_labels(labels: set[str]) -> list[str]:
  """Returns sorted labels: 0, 1, 2, 10 if all are integers, else as text."""
  # pandas writes whole numbers as 3.0 if there are empty cells.
  if all(re.fullmatch(r'[+-]?[0-9]+(\.0+)?', label) for label in labels):
    return sorted(labels, key=lambda label: (float(label), label))
  return sorted(labels)


def _labels_in(head: str, examples: Iterable[Example]) -> set[str]:
  labels = [example.labels[head] for example in examples]
  return {name for x in labels for name in ((x,) if isinstance(x, str) else x)}


def multi_label_heads(splits: Splits) -> list[str]:
  """Returns the multi-label heads, sorted."""
  first = next(iter(splits.values()))[0]
  return sorted(h for h, x in first.labels.items() if not isinstance(x, str))


def check_classes(
  dataset: str,
  label_names: Mapping[str, Sequence[str]],
  official: Mapping[str, int],
) -> None:
  """Checks that each head has its official number of labels."""
  for head, count in official.items():
    names = label_names[head]
    if len(names) != count:
      raise UserError(
        f'{dataset} has {count} labels of the head {head}, but the annotations '
        f"have {len(names)}, '{names[0]}' to '{names[-1]}': use the owners' "
        'files, or allow a subset with --any_labels.'
      )


def with_validation(annotated: Annotated, share: float) -> Annotated:
  """Moves a share of the videos of 'train' to a new split 'validation'.

  These are the videos whose paths have the smallest digests: almost the same if
  videos are added. All segments of a video go together.
  """
  splits = dict(annotated.splits)
  if 'validation' in splits or 'train' not in splits:
    raise UserError(
      f'--validation_share takes a share of train, but the splits are '
      f'{", ".join(splits)}: leave it out.'
    )

  def digest(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()

  paths = sorted({example.path for example in splits['train']}, key=digest)
  count = round(share * len(paths))
  if not 0 < count < len(paths):
    raise UserError(
      f'--validation_share={share} takes {count} of the {len(paths)} videos of '
      'train: choose another share.'
    )
  moved = set(paths[:count])
  for split, taken in (('train', False), ('validation', True)):
    splits[split] = [
      example
      for example in annotated.splits['train']
      if (example.path in moved) == taken
    ]
  return dataclasses.replace(annotated, splits=splits)


def read_label_names(path: str | os.PathLike) -> dict[str, list[str]]:
  """Reads the label names of each head, in the order of their indices.

  `path` is a JSON file `{head: [names]}`, or the folder of a prepared dataset
  (`data/videos/mine/1.0.0`).
  """
  path = pathlib.Path(path)
  if path.is_dir():
    path = path / 'metadata.json'
  try:
    names = json.loads(path.read_text('utf-8'))
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}.') from None
  except (ValueError, RecursionError) as error:
    raise UserError(
      f'{path} is damaged, or not a JSON file of label names: {error}.'
    ) from None
  if isinstance(names, dict):
    names = names.get('label_names', names)
  return checked_names(names, str(path))


def checked_names(names: Any, where: str) -> dict[str, list[str]]:
  """Returns validated {head: names}; `where` begins the error."""
  good = isinstance(names, Mapping) and all(
    isinstance(of_head, (list, tuple))
    and all(isinstance(name, str) for name in of_head)
    and len(set(of_head)) == len(of_head)
    for of_head in names.values()
  )
  if not good or not names:
    raise UserError(
      f'{where} does not hold label names as {{"head": ["name", "name"]}}, '
      'each name once.'
    )
  return {head: list(of_head) for head, of_head in names.items()}
