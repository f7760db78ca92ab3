"""The report of an evaluation: scores, every prediction, confusions."""

import csv
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import einops
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from vivit_jax import files
from vivit_jax.errors import UserError
from vivit_jax.evaluation import metrics
from vivit_jax.evaluation.predictions import Predictions

_GUESSES = 5  # columns of predictions.csv
_NAMED = 40  # classes whose names still fit on the axes
_ANNOTATED = 12  # classes whose percentages still fit into the cells
_NAME_LENGTH = 28  # characters of a name on an axis


def write_report(
  folder: str | os.PathLike,
  predictions: Predictions,
  *,
  ids: Sequence[str],
  label_names: Mapping[str, Sequence[str]],
  protocol: Mapping[str, Any],
) -> None:
  """Writes metrics.json, predictions.csv and confusion_<head>.png.

  Each file appears whole or not at all, replacing an earlier one.

  Args:
    folder: made where it does not exist.
    predictions: of the n examples of a split.
    ids: n names of the examples.
    label_names: K names of each head's classes.
    protocol: how the scores came about; goes into metrics.json as it is.

  Raises:
    UserError: logits that are not finite, or a folder that cannot be written.
  """
  if len(ids) != len(predictions.index):
    raise ValueError(f'{len(ids)} ids for {len(predictions.index)} predictions')
  scores = metrics.scores(predictions.logits, predictions.labels)
  folder = pathlib.Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for head, logits in predictions.logits.items():
      labels = predictions.labels[head]
      if labels.ndim == 2:
        continue  # several labels a video: there is no one true class
      guesses = metrics.top_k(logits, 1)[:, 0]
      figure = confusion_figure(
        metrics.confusion(guesses, labels, logits.shape[1]),
        label_names[head],
        f'{head}: top-1 {scores[f"{head}/top1"]:.1%} of {len(ids)} examples',
      )
      with files.replacing(folder / f'confusion_{head}.png') as path:
        figure.savefig(path, format='png')
    with files.replacing(folder / 'predictions.csv') as path:
      _write_predictions(path, predictions, ids, label_names)
    with files.replacing(folder / 'metrics.json') as path:
      text = json.dumps({**scores, 'protocol': dict(protocol)}, indent=2)
      path.write_text(text + '\n', encoding='utf-8')
  except OSError as error:
    raise UserError(
      f'the report cannot be written to {folder} ({error.strerror or error}): '
      'choose another folder with --out.'
    ) from error


def confusion_figure(
  counts: np.ndarray, names: Sequence[str], title: str
) -> Figure:
  """Draws a confusion matrix, each row as fractions of its examples.

  Args:
    counts: int [K, K]; rows are labels, columns predictions.
    names: K names of the classes.
    title: of the figure.

  Returns:
    A figure that pyplot does not know of; classes without examples are grey.
  """
  classes = len(counts)
  examples = einops.reduce(counts, 'true predicted -> true 1', 'sum')
  fractions = np.ma.masked_invalid(
    np.divide(
      counts,
      examples,
      out=np.full(counts.shape, np.nan),
      where=examples > 0,
    )
  )
  # Cells hold readable text while classes are few, and some pixels at least.
  side = float(np.clip(0.3 * classes + 3.5, 5.5, 14))
  figure = Figure(figsize=(side * 1.12, side), dpi=150, layout='constrained')
  axes = figure.add_subplot()
  # Along a root, lest the rare confusions among many classes be lost to sight.
  image = axes.imshow(
    fractions,
    cmap='viridis',
    norm=PowerNorm(0.5, vmin=0, vmax=1),
    interpolation='nearest',
  )
  axes.set_facecolor('lightgrey')
  size = 9 + side / 3
  bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02, aspect=30)
  bar.set_ticks([0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
  bar.set_label('fraction of the true class (root scale)', fontsize=size)
  axes.set_title(title, fontsize=size + 2, parse_math=False)
  axes.set_xlabel('predicted class', fontsize=size)
  axes.set_ylabel('true class', fontsize=size)
  if classes <= _NAMED:
    _name_classes(axes, names)
  if classes <= _ANNOTATED:
    _annotate(axes, fractions)
  return figure


def _name_classes(axes, names: Sequence[str]) -> None:
  short = [
    name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + '…'
    for name in names
  ]
  places = range(len(short))
  # A '$' in a name is a '$', not the start of a formula.
  axes.set_xticks(places, short, rotation=90, parse_math=False)
  axes.set_yticks(places, short, parse_math=False)


def _annotate(axes, fractions: np.ma.MaskedArray) -> None:
  for (row, column), fraction in np.ndenumerate(fractions.filled(0)):
    if fraction > 0:
      axes.text(
        column,
        row,
        f'{fraction:.0%}',
        ha='center',
        va='center',
        fontsize=8,
        color='black' if fraction > 0.4 else 'white',  # readable on viridis
      )


def _write_predictions(
  path: pathlib.Path,
  predictions: Predictions,
  ids: Sequence[str],
  label_names: Mapping[str, Sequence[str]],
) -> None:
  """Writes an example a row: its label, and the first guesses of each head."""
  columns: dict[str, Sequence] = {'example': ids}
  for head, logits in predictions.logits.items():
    names = np.asarray(label_names[head], object)
    labels = predictions.labels[head]
    if labels.ndim == 2:
      columns[f'{head}_label'] = [';'.join(names[row > 0]) for row in labels]
      probabilities = metrics.sigmoid(logits)
    else:
      columns[f'{head}_label'] = names[labels]
      probabilities = metrics.softmax(logits)
    guesses = metrics.top_k(logits, _GUESSES)
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
