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
  """

  def __init__(
    self, out: pathlib.Path, key: Mapping[str, Any], empty: Predictions
  ):
    text = json.dumps(key, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    self._out, self._empty = out, empty
    self._folder = out / f'{UNFINISHED}{digest[:16]}'

  def read(self) -> Predictions:
    """Returns each finished example once in process 0, none in other processes.

    Deletes damaged files. Unreadable videos are not saved, but tried again.
    """
    if not distributed.first():
      return self._empty
    rows = [self._empty]
    for path in sorted(self._folder.glob('*.npz')):
      try:
        rows.append(self._read(path))
      except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
    index = np.concatenate([row.index for row in rows])
    once, first = np.unique(index, return_index=True)

    def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
      return {h: np.concatenate([x[h] for x in parts])[first] for h in parts[0]}

    return Predictions(
      logits=joined([row.logits for row in rows]),
      labels=joined([row.labels for row in rows]),
      index=once,
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
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
    heads = self._empty.logits
    return Predictions(
      logits={head: arrays[f'logits/{head}'] for head in heads},
      labels={head: arrays[f'labels/{head}'] for head in heads},
      index=arrays['index'],
    )
