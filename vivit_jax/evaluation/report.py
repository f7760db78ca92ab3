"""Writes the result files of an evaluation: scores, predictions and a page."""

import csv
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation import metrics, page
from vivit_jax.evaluation.output_dir import STAGING, UnwritableOutput
from vivit_jax.evaluation.predictions import Table

_GUESSES = 5  # columns of predictions.csv


def write(
  folder: str | os.PathLike,
  table: Table,
  results: Mapping[str, Any],
  *,
  source: VideoSplit | None = None,
  workdir: str | os.PathLike | None = None,
) -> None:
  """Writes metrics.json, predictions.npz, predictions.csv and report.html.

  Earlier files are replaced once all new ones are complete. Arguments are those
  of `page.render`; the folder is created if it does not exist.

  Raises:
    UnwritableOutput: the folder cannot be written.
  """
  folder = pathlib.Path(folder)
  staging = folder / f'{STAGING}{os.getpid()}'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f'{STAGING}*'):  # left by a killed process
      shutil.rmtree(stale, ignore_errors=True)
    staging.mkdir()
    table.write(staging / 'predictions.npz')
    _write_predictions(staging / 'predictions.csv', table)
    html = page.render(table, results, source=source, workdir=workdir)
    (staging / 'report.html').write_text(html, encoding='utf-8', newline='\n')
    text = json.dumps(results, indent=2, allow_nan=False)
    (staging / 'metrics.json').write_text(text + '\n', encoding='utf-8')
    # metrics.json comes last: where it exists, all files are complete.
    written = sorted(staging.iterdir(), key=lambda x: x.name == 'metrics.json')
    (folder / 'metrics.json').unlink(missing_ok=True)
    for path in written:
      os.replace(path, folder / path.name)
  except OSError as error:
    raise UnwritableOutput(folder, error) from error
  finally:
    shutil.rmtree(staging, ignore_errors=True)


def _write_predictions(path: pathlib.Path, table: Table) -> None:
  """Writes a row for each example: labels and first guesses of each head."""
  columns: dict[str, Any] = {'example': table.ids}
  scores = table.averaged()
  for head, probabilities in table.probabilities().items():
    names = np.asarray(table.class_names[head], object)
    labels = table.labels[head]
    if labels.ndim == 2:
      columns[f'{head}_label'] = [';'.join(names[row > 0]) for row in labels]
    else:
      columns[f'{head}_label'] = names[labels]
    # Ranked by scores, as in the metrics: probabilities can round to equal.
    guesses = metrics.top_k(scores[head], _GUESSES)
    probabilities = np.take_along_axis(probabilities, guesses, axis=1)
    for rank in range(guesses.shape[1]):
      column = f'{head}_top{rank + 1}'
      columns[column] = names[guesses[:, rank]]
      columns[f'{column}_probability'] = [
        f'{probability:.6f}' for probability in probabilities[:, rank]
      ]
  with path.open('w', encoding='utf-8', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
