"""Finished batches of an evaluation, kept until all are there.

`<out>/.unfinished-<key>/` holds an npz a batch and process. The key is of all
that logits depend on: what was interrupted is gone on with by the same question
alone, on whatever number of processes, devices and videos at a time.
"""

import hashlib
import json
import pathlib
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax import distributed, files
from vivit_jax.evaluation.folder import UNFINISHED, Unwritable
from vivit_jax.evaluation.predictions import Predictions


class Parts:
  """The finished batches of one evaluation, of all processes.

  Args:
    folder: of its results; exists.
    key: JSON of all that logits depend on.
    nothing: predictions of no example, of the shapes that all have.
    example_count: of the split.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    key: Mapping[str, Any],
    nothing: Predictions,
    example_count: int,
  ):
    text = json.dumps(key, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    self._out = folder
    self._folder = folder / f'{UNFINISHED}{digest[:16]}'
    self._nothing, self._example_count = nothing, example_count

  def read(self) -> Predictions:
    """Returns the examples that are finished, each once; process 0 has them.

    What is damaged is deleted. Videos that could not be read are tried again.
    """
    if not distributed.first():
      return self._nothing
    rows, seen = [self._nothing], set()
    for path in sorted(self._folder.glob('*.npz')):
      try:
        part = self._read(path)
      except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        continue
      new = np.array([i not in seen for i in part.index.tolist()], bool)
      seen.update(part.index.tolist())
      rows.append(_at(part, new))
    return Predictions(
      logits={
        head: np.concatenate([row.logits[head] for row in rows])
        for head in self._nothing.logits
      },
      labels={
        head: np.concatenate([row.labels[head] for row in rows])
        for head in self._nothing.labels
      },
      index=np.concatenate([row.index for row in rows]),
    )

  def others(self) -> list[pathlib.Path]:
    """Returns the parts of other questions, which their own may go on with."""
    found = sorted(self._out.glob(f'{UNFINISHED}*'))
    return [folder for folder in found if folder != self._folder]

  def add(self, batch: Predictions) -> None:
    """Keeps what a batch gave, whole or not at all.

    Raises:
      Unwritable: it cannot be kept.
    """
    arrays = {'index': batch.index}
    for head in batch.logits:
      arrays[f'logits/{head}'] = batch.logits[head]
      arrays[f'labels/{head}'] = batch.labels[head]
    try:
      self._folder.mkdir(exist_ok=True)
      name = f'{uuid.uuid4().hex}.npz'  # no other process has it
      with files.replacing(self._folder / name) as unfinished:
        with open(unfinished, 'wb') as file:
          np.savez(file, **arrays)
    except OSError as error:
      raise Unwritable(self._out, error) from None

  def remove(self) -> None:
    """Deletes all parts, of which the results are written."""
    shutil.rmtree(self._folder, ignore_errors=True)

  def _read(self, path: pathlib.Path) -> Predictions:
    """Reads a part; ValueError where it is not of this evaluation."""
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
    index = arrays['index']
    found = Predictions(
      logits={head: arrays[f'logits/{head}'] for head in self._nothing.logits},
      labels={head: arrays[f'labels/{head}'] for head in self._nothing.labels},
      index=index,
    )
    for mine, theirs in (
      (self._nothing.logits, found.logits),
      (self._nothing.labels, found.labels),
    ):
      for head, array in mine.items():
        expected = (len(index), *array.shape[1:])
        if theirs[head].shape != expected or theirs[head].dtype != array.dtype:
          raise ValueError(f'{head} is {theirs[head].shape}')
    if len(index) and not 0 <= index.min() <= index.max() < self._example_count:
      raise ValueError('examples that there are not')
    return found


def _at(rows: Predictions, which: np.ndarray) -> Predictions:
  return Predictions(
    logits={head: x[which] for head, x in rows.logits.items()},
    labels={head: x[which] for head, x in rows.labels.items()},
    index=rows.index[which],
  )
