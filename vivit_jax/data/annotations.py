"""What annotations say of a dataset: its videos, their labels, their order.

`vivit_jax.data.readers` makes it from the files that owners distribute.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vivit_jax.errors import UserError, nearest

Label = str | tuple[str, ...]  # several: of a head with many labels a video


@dataclasses.dataclass(frozen=True)
class Example:
  """One annotated video, or part of one.

  Attributes:
    path: of a video file, or of a folder of frames; relative to the folder of
      videos, with slashes.
    id: unique in its split.
    labels: of each head, a name; or names, of a head with many.
    elsewhere: where else it may be, the first that exists counts: other paths,
      or folders (with a slash at their ends) that hold the file of `path`.
    start, end: seconds; the part of a video file from start to before end.
    frames: first and last number of the part of a folder of frames.
    record: of a file of records, at which byte the video's begins.
  """

  path: str
  id: str
  labels: Mapping[str, Label]
  elsewhere: tuple[str, ...] = ()
  start: float | None = None
  end: float | None = None
  frames: tuple[int, int] | None = None
  record: int | None = None


Splits = dict[str, list[Example]]


@dataclasses.dataclass(frozen=True)
class Annotated:
  """What a reader returns.

  Attributes:
    splits: the examples of each, in the owners' order.
    label_names: of each head, in the order of the owners' indices; empty where
      they number no labels.
    notes: sentences for the user: what was left out, and why.
  """

  splits: Splits
  label_names: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()


def names_of(label: Label) -> tuple[str, ...]:
  """Returns the names in a label of one or of many."""
  return (label,) if isinstance(label, str) else tuple(label)


def label_maps(
  splits: Splits,
  train_split: str = 'train',
  label_names: Mapping[str, Sequence[str]] | None = None,
  source: str = 'the given label names',
) -> dict[str, list[str]]:
  """Returns the names of each head's labels, in the order of their indices.

  The names are the train split's, sorted; all splits' where there is no train
  split; or those of `label_names`, in its order.

  Args:
    splits: the examples; all have the same heads.
    train_split: its name.
    label_names: of each head, or None.
    source: what an error calls `label_names`.

  Raises:
    UserError: a label that the names do not have, or heads that differ from
      those of `label_names`.
  """
  heads = sorted(next(iter(splits.values()))[0].labels)
  if label_names is None:
    known = [train_split] if train_split in splits else list(splits)
    source = f"the split '{train_split}'"
    maps = {
      head: sorted(_used(head, (e for s in known for e in splits[s])))
      for head in heads
    }
  else:
    if sorted(label_names) != heads:
      raise UserError(
        f'{source} are of {", ".join(sorted(label_names))}, but '
        f'the annotations have {", ".join(heads)}.'
      )
    maps = {head: list(label_names[head]) for head in heads}
  for head, names in maps.items():
    if not names:
      raise UserError(
        f'no video has a label of the head {head}: give labels, or leave its '
        'column out.'
      )
  for split, examples in splits.items():
    for head, names in maps.items():
      strangers = _used(head, examples).difference(names)
      if strangers:
        label = min(strangers)
        verb = 'does' if label_names is None else 'do'
        raise UserError(
          f"the split '{split}' has the {head} '{label}', which {source} "
          f'{verb} not have.{nearest(label, names)}'
        )
  return maps


def _used(head: str, examples: Iterable[Example]) -> set[str]:
  return {name for e in examples for name in names_of(e.labels[head])}


def multi_label_heads(splits: Splits) -> list[str]:
  """Returns the heads of which a video has any number of labels, sorted."""
  first = next(iter(splits.values()))[0]
  return sorted(h for h, x in first.labels.items() if not isinstance(x, str))


def check_classes(
  dataset: str,
  label_names: Mapping[str, Sequence[str]],
  official: Mapping[str, int],
) -> None:
  """Raises a UserError where a head has not its official number of labels."""
  for head, count in official.items():
    names = label_names.get(head)
    if names is None:
      raise UserError(
        f"{dataset} has the head '{head}', but the annotations have "
        f'{", ".join(sorted(label_names))}.'
      )
    if len(names) != count:
      raise UserError(
        f'{dataset} has {count} labels of the head {head}, but the annotations '
        f"have {len(names)}, '{names[0]}' to '{names[-1]}': give the owners' "
        'own files, or allow a subset with --any_labels.'
      )


def read_label_names(path: str | os.PathLike) -> dict[str, list[str]]:
  """Reads label names in their order, to prepare another set with them.

  Args:
    path: a JSON file `{head: [names]}`, or the folder of a prepared dataset
      (`data/videos/mine/1.0.0`), whose names are taken.

  Raises:
    UserError: no such file, or another content.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    path = path / 'metadata.json'
  try:
    names = json.loads(path.read_text('utf-8'))
  except FileNotFoundError:
    raise UserError(f'there is no JSON of label names at {path}.') from None
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}.') from None
  except (ValueError, RecursionError) as error:
    raise UserError(
      f'{path} is damaged, or no JSON of label names: {error}.'
    ) from None
  if isinstance(names, dict):
    names = names.get('label_names', names)
  return checked_names(names, str(path))


def checked_names(names: Any, where: str) -> dict[str, list[str]]:
  """Returns label names in their order, of each head.

  Args:
    names: what should be {head: names}.
    where: they are from, for the error.

  Raises:
    UserError: other content, or a name twice.
  """
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
