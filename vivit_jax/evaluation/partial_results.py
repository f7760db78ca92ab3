"""Saves finished batches, so that an interrupted evaluation can resume.

`<out>/.unfinished-<key>/` holds one npz for each batch and process. The key is
a digest of all settings that logits depend on, so that only the same evaluation
resumes. The number of processes, devices and videos per batch may change.
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
from vivit_jax.evaluation.output_dir import UNFINISHED, UnwritableOutput
from vivit_jax.evaluation.predictions import Predictions


class PartialResults:
  """The finished batches of one evaluation, from all processes.

  Args:
    out: output folder; must exist.
    key: all settings that logits depend on, as JSON.
    empty: predictions with 0 examples, for heads, shapes and dtypes.
    example_count: number of examples in the split.
  """

  def __init__(
    self,
    out: pathlib.Path,
    key: Mapping[str, Any],
    empty: Predictions,
    example_count: int,
  ):
    text = json.dumps(key, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    self._out = out
    self._folder = out / f'{UNFINISHED}{digest[:16]}'
    self._empty, self._example_count = empty, example_count

  def read(self) -> Predictions:
    """Returns each finished example once in process 0, none in other processes.

    Deletes damaged files. Unreadable videos are not saved, so that the next
    evaluation tries them again.
    """
    if not distributed.first():
      return self._empty
    rows, seen = [self._empty], set()
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
        for head in self._empty.logits
      },
      labels={
        head: np.concatenate([row.labels[head] for row in rows])
        for head in self._empty.labels
      },
      index=np.concatenate([row.index for row in rows]),
    )

  def stale(self) -> list[pathlib.Path]:
    """Returns the folders with partial results for other settings."""
    folders = sorted(self._out.glob(f'{UNFINISHED}*'))
    return [folder for folder in folders if folder != self._folder]

  def add(self, batch: Predictions) -> None:
    """Writes a batch, atomically.

    Raises:
      UnwritableOutput: it cannot be written.
    """
    arrays = {'index': batch.index}
    for head in batch.logits:
      arrays[f'logits/{head}'] = batch.logits[head]
      arrays[f'labels/{head}'] = batch.labels[head]
    try:
      self._folder.mkdir(exist_ok=True)
      name = f'{uuid.uuid4().hex}.npz'  # unique among processes
      with files.replacing(self._folder / name) as unfinished:
        with open(unfinished, 'wb') as file:
          np.savez(file, **arrays)
    except OSError as error:
      raise UnwritableOutput(self._out, error) from None

  def remove(self) -> None:
    """Deletes the partial results; call it once the results are written."""
    shutil.rmtree(self._folder, ignore_errors=True)

  def _read(self, path: pathlib.Path) -> Predictions:
    """Reads a file; raises a ValueError if it does not fit this evaluation."""
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
    index = arrays['index']
    batch = Predictions(
      logits={head: arrays[f'logits/{head}'] for head in self._empty.logits},
      labels={head: arrays[f'labels/{head}'] for head in self._empty.labels},
      index=index,
    )
    for empty, values in (
      (self._empty.logits, batch.logits),
      (self._empty.labels, batch.labels),
    ):
      for head, array in empty.items():
        expected = (len(index), *array.shape[1:])
        if values[head].shape != expected or values[head].dtype != array.dtype:
          raise ValueError(f'{head} is {values[head].shape}')
    if len(index) and not 0 <= index.min() <= index.max() < self._example_count:
      raise ValueError('an example index is out of range')
    return batch


def _at(rows: Predictions, which: np.ndarray) -> Predictions:
  """Returns the rows where `which` is true."""
  return Predictions(
    logits={head: x[which] for head, x in rows.logits.items()},
    labels={head: x[which] for head, x in rows.labels.items()},
    index=rows.index[which],
  )
