"""The files of an evaluation: scores, every prediction, confusions, a page."""

import csv
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax import config as configs
from vivit_jax import fonts
from vivit_jax.config import TrainConfig
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation import confusion, metrics, page, summary
from vivit_jax.evaluation.folder import STAGING, Unwritable
from vivit_jax.evaluation.predictions import Table

_GUESSES = 5  # columns of predictions.csv


def contents(table: Table, config: TrainConfig | None = None) -> dict[str, Any]:
  """Returns what metrics.json holds.

  That of `summary.summary`, 'protocol' and 'config'.

  Args:
    table: of n examples, at least one.
    config: of the evaluation.

  Raises:
    UserError: logits that are not finite, or labels that are no class.
  """
  found = summary.summary(table)
  found['protocol'] = dict(table.protocol)
  found['config'] = config and json.loads(configs.to_json(config))
  return found


def write(
  folder: str | os.PathLike,
  table: Table,
  found: Mapping[str, Any],
  *,
  source: VideoSplit | None = None,
  workdir: str | os.PathLike | None = None,
) -> None:
  """Writes the results of an evaluation.

  metrics.json, predictions.npz, predictions.csv, confusion_<head>.png and
  report.html. They replace earlier ones when all are written; after an error,
  none is replaced.

  Args:
    folder: made where it does not exist.
    table: of n examples, at least one.
    found: what `contents` says of it.
    source: the videos, for the page's pictures of mistakes; None for none.
    workdir: of the run, for the page's curves; None for none.

  Raises:
    Unwritable: a folder that cannot be written.
  """
  folder = pathlib.Path(folder)
  staging = folder / f'{STAGING}{os.getpid()}'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f'{STAGING}*'):  # of a process that was killed
      shutil.rmtree(left, ignore_errors=True)
    staging.mkdir()
    table.write(staging / 'predictions.npz')
    _write_predictions(staging / 'predictions.csv', table)
    _write_confusions(staging, table, found['scores'])
    told = page.render(table, found, source=source, workdir=workdir)
    (staging / 'report.html').write_text(told, encoding='utf-8', newline='\n')
    text = json.dumps(found, indent=2, allow_nan=False)
    (staging / 'metrics.json').write_text(text + '\n', encoding='utf-8')
    # metrics.json comes last: it stands for all of them.
    written = sorted(staging.iterdir(), key=lambda x: x.name == 'metrics.json')
    (folder / 'metrics.json').unlink(missing_ok=True)
    for path in written:
      os.replace(path, folder / path.name)
  except OSError as error:
    raise Unwritable(folder, error) from error
  finally:
    shutil.rmtree(staging, ignore_errors=True)


def _write_confusions(
  folder: pathlib.Path, table: Table, scores: Mapping[str, float]
) -> None:
  """Draws the confusions of heads that have one true class a video."""
  for head, logits in table.averaged().items():
    labels = table.labels[head]
    if labels.ndim == 2:
      continue
    guesses = metrics.top_k(logits, 1)[:, 0]
    top1 = scores[f'{head}/top1']
    figure = confusion.draw(
      metrics.confusion(guesses, labels, logits.shape[1]),
      table.class_names[head],
      f'{head}: top-1 {top1:.1%} of {len(labels)} examples',
    )
    with fonts.without_warnings():
      figure.savefig(folder / f'confusion_{head}.png')


def _write_predictions(path: pathlib.Path, table: Table) -> None:
  """Writes an example a row: its label, and the first guesses of each head."""
  columns: dict[str, Any] = {'example': table.ids}
  for head, probabilities in table.probabilities().items():
    names = np.asarray(table.class_names[head], object)
    labels = table.labels[head]
    if labels.ndim == 2:
      columns[f'{head}_label'] = [';'.join(names[row > 0]) for row in labels]
    else:
      columns[f'{head}_label'] = names[labels]
    # As the scores rank: of probabilities, rounding makes ties.
    guesses = metrics.top_k(table.averaged()[head], _GUESSES)
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
