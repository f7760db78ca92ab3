"""Logits of a split for each view, in memory and in predictions.npz."""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vivit_jax import files
from vivit_jax.errors import UserError
from vivit_jax.evaluation.averaging import average_views, probabilities


@dataclasses.dataclass(frozen=True)
class Predictions:
  """A model's predictions for n examples of a split, and m unreadable videos.

  Logits and labels are those of `Table`; `index` and `unreadable` are indices
  in the split, int [n] and [m].
  """

  logits: dict[str, np.ndarray]
  labels: dict[str, np.ndarray]
  index: np.ndarray
  unreadable: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros(0, int)
  )


@dataclasses.dataclass(frozen=True)
class Table:
  """The content of predictions.npz: every example once, with its labels.

  Attributes:
    ids: n names of the examples, in the order of the split.
    logits: of each head, float32 [n, V, K]; with S spatial crops, view =
      temporal * S + spatial.
    labels: of each head, int32 [n]; or for a multi-label head float32 [n, K],
      1 at each label.
    class_names: of each head, K names.
    protocol: as in metrics.json.
    index: int64 [n], the examples' indices in the split; None: 0 to n - 1.
  """

  ids: Sequence[str]
  logits: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]
  class_names: Mapping[str, Sequence[str]]
  protocol: Mapping[str, Any]
  index: np.ndarray | None = None

  @property
  def average(self) -> str:
    """What the protocol averages over views: 'logits' or 'probabilities'."""
    return self.protocol.get('average', 'logits')

  def averaged(
    self, average: str | None = None, views: Sequence[int] | None = None
  ) -> dict[str, np.ndarray]:
    """Returns float64 scores [n, K] of each head, averaged over views.

    Args:
      average: 'logits'; 'probabilities', for the logarithm of the mean
        probability; None: as the protocol says.
      views: indices of the views to average; None: all.
    """
    average = average or self.average
    return {
      head: average_views(logits, average, self.labels[head].ndim == 2, views)
      for head, logits in self.logits.items()
    }

  def probabilities(
    self, average: str | None = None, views: Sequence[int] | None = None
  ) -> dict[str, np.ndarray]:
    """Returns float64 probabilities [n, K] of each head; see `averaged`."""
    average = average or self.average
    return {
      head: probabilities(scores, average, self.labels[head].ndim == 2)
      for head, scores in self.averaged(average, views).items()
    }

  def write(self, path: str | os.PathLike) -> None:
    """Writes a compressed npz, atomically; raises an OSError if that fails."""
    index = np.arange(len(self.ids)) if self.index is None else self.index
    arrays = {
      'ids': np.asarray(self.ids, np.str_),
      'index': np.asarray(index, np.int64),
      'protocol': np.asarray(json.dumps(dict(self.protocol)), np.str_),
    }
    for head, logits in self.logits.items():
      labels = np.asarray(self.labels[head])
      kind = np.float32 if labels.ndim == 2 else np.int32
      arrays[f'logits/{head}'] = np.asarray(logits, np.float32)
      arrays[f'labels/{head}'] = labels.astype(kind)
      arrays[f'class_names/{head}'] = np.asarray(
        self.class_names[head], np.str_
      )
    with files.replacing(path) as temporary:
      with open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)

  @classmethod
  def read(cls, path: str | os.PathLike) -> 'Table':
    """Reads a file written by `write`, or the predictions.npz in a folder.

    Raises:
      UserError: the file is missing, damaged or not from `write`.
    """
    path = pathlib.Path(path)
    if path.is_dir():
      path = path / 'predictions.npz'
    # For other files, numpy's error would advise loading pickles.
    if not zipfile.is_zipfile(path):
      raise UserError(
        f'{path} is missing, truncated or not an npz file: give the '
        'predictions.npz of evaluate.py, or its folder.'
      )
    try:
      with np.load(path, allow_pickle=False) as file:
        return _table(dict(file))
    except (
      EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
      raise UserError(
        f'{path} is not a predictions.npz of evaluate.py, or is damaged '
        f'({error}).'
      ) from None


def _table(arrays: Mapping[str, np.ndarray]) -> Table:
  """Makes a table of a file's arrays; raises a ValueError if they misfit."""
  parts = {
    part: {
      name.removeprefix(f'{part}/'): array
      for name, array in arrays.items()
      if name.startswith(f'{part}/')
    }
    for part in ('logits', 'labels', 'class_names')
  }
  ids, index = arrays['ids'].tolist(), arrays['index']
  for head, logits in parts['logits'].items():
    n, _, classes = logits.shape
    if (
      not n == len(ids) == len(index)
      or parts['class_names'][head].shape != (classes,)
      or parts['labels'][head].shape not in ((n,), (n, classes))
    ):
      raise ValueError(f'the arrays of head {head} have different lengths')
  return Table(
    ids=ids,
    logits=parts['logits'],
    labels=parts['labels'],
    class_names={head: x.tolist() for head, x in parts['class_names'].items()},
    protocol=json.loads(str(arrays['protocol'])),
    index=index,
  )
