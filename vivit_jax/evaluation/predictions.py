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
  """A model's predictions for the examples of a split.

  Attributes:
    logits: of each head, float32 [n, V, K].
    labels: of each head, int32 [n]; or for a multi-label head float32 [n, K],
      1 at each label.
    index: int [n], the examples' indices in the split.
    unreadable: int [m], indices of the unreadable videos.
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

  def averaged(
    self, average: str | None = None, views: Sequence[int] | None = None
  ) -> dict[str, np.ndarray]:
    """Returns float64 scores [n, K] of each head, averaged over views.

    Args:
      average: 'logits'; 'probabilities', for the logarithm of the mean
        probability; None: as the protocol says.
      views: indices of the views to average; None: all.
    """
    average = average or self.protocol.get('average', 'logits')
    return {
      head: average_views(logits, average, self.labels[head].ndim == 2, views)
      for head, logits in self.logits.items()
    }

  def probabilities(
    self, average: str | None = None, views: Sequence[int] | None = None
  ) -> dict[str, np.ndarray]:
    """Returns float64 probabilities [n, K] of each head.

    They sum to 1 over the classes, except for multi-label heads. Arguments are
    those of `averaged`.
    """
    average = average or self.protocol.get('average', 'logits')
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
    try:
      with open(path, 'rb') as file:
        # For other files, numpy's error would advise loading pickles.
        if not zipfile.is_zipfile(file):
          raise UserError(
            f'{path} is not an npz file, or is truncated: give the '
            'predictions.npz of evaluate.py, or its folder.'
          )
        file.seek(0)
        arrays = dict(np.load(file, allow_pickle=False))
      return _checked(arrays)
    except OSError as error:
      raise UserError(
        f'cannot read the predictions {path}: {error.strerror or error}; '
        'evaluate.py writes them.'
      ) from None
    except UserError:
      raise
    except (
      AttributeError,
      EOFError,
      KeyError,
      TypeError,
      ValueError,
      zipfile.BadZipFile,
    ) as error:
      raise UserError(
        f'{path} is not a predictions.npz of evaluate.py, or is damaged '
        f'({error}).'
      ) from None


def _checked(arrays: Mapping[str, np.ndarray]) -> Table:
  """Makes a table of a file's arrays; raises a ValueError if they misfit."""
  protocol = json.loads(str(arrays['protocol']))
  if not isinstance(protocol, dict):
    raise ValueError('the protocol is not a JSON object')
  average = protocol.get('average', 'logits')
  if average not in ('logits', 'probabilities'):
    raise ValueError(
      f'the protocol averages {average!r}, not logits or probabilities'
    )
  ids, index = arrays['ids'], arrays['index']
  parts = {
    part: {
      name.removeprefix(f'{part}/'): array
      for name, array in arrays.items()
      if name.startswith(f'{part}/')
    }
    for part in ('logits', 'labels', 'class_names')
  }
  if not parts['logits']:
    raise ValueError('no logits')
  if ids.ndim != 1 or index.shape != ids.shape:
    raise ValueError('ids and index have different lengths')
  for head, logits in parts['logits'].items():
    labels, names = parts['labels'][head], parts['class_names'][head]
    if logits.ndim != 3 or logits.dtype.kind != 'f' or 0 in logits.shape[1:]:
      raise ValueError(f'the logits of {head} are not [n, views, classes]')
    n, _, classes = logits.shape
    if n != len(ids) or names.shape != (classes,):
      raise ValueError(f'the logits of {head} do not fit ids and names')
    if labels.shape not in ((n,), (n, classes)):
      raise ValueError(f'the labels of {head} do not fit its logits')
    if labels.ndim == 1 and (
      labels.dtype.kind != 'i'
      or (n and not 0 <= labels.min() <= labels.max() < classes)
    ):
      raise ValueError(f'the labels of {head} are out of range')
  return Table(
    ids=ids.tolist(),
    logits=parts['logits'],
    labels=parts['labels'],
    class_names={head: x.tolist() for head, x in parts['class_names'].items()},
    protocol=protocol,
    index=index,
  )
