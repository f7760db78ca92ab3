"""Evaluates checkpoints on a split: the library behind evaluate.py."""

import functools
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vivit_jax import config as configs
from vivit_jax import distributed
from vivit_jax.checkpoints import labels
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.checkpoints.overrides import override
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets
from vivit_jax.errors import UserError
from vivit_jax.evaluation import (
  checkpoint_selection,
  describe,
  output_dir,
  report,
  score_table,
  summary,
)
from vivit_jax.evaluation.checkpoint_selection import Candidate
from vivit_jax.evaluation.split_predictor import SplitPredictor

Results = dict[str, Any]  # the content of metrics.json


def evaluate(
  workdir: str | os.PathLike | None,
  *,
  config: TrainConfig | None = None,
  checkpoints: Sequence[str] = ('best',),
  out: str | os.PathLike | None = None,
  **changes,
) -> dict[str, Results]:
  """Scores checkpoints, prints the scores and writes the results.

  Args:
    workdir: of a run; None for other checkpoints, which need `config`.
    config: of the experiment; only without a workdir.
    checkpoints: 'best', 'last', 'all' or step numbers of the run; without a
      workdir, paths of checkpoints or of folders that contain checkpoints.
    out: output folder; None for `<workdir>/evaluation/<split>`. With several
      checkpoints, each has a subfolder.
    **changes: overrides of the config, see `overrides.override`.

  Returns:
    The content of metrics.json, by checkpoint name.

  Raises:
    UserError: the run, checkpoint or split does not exist, the views do not fit
      the videos, the checkpoint has other label names, or the output folder
      cannot be written. If some checkpoints fail, it is raised after all the
      others are scored.
  """
  change = functools.partial(override, **changes)
  if workdir is not None:
    session = Session(change(workdirs.read_config(workdir)), out, workdir)
    selected = checkpoint_selection.of_run(workdir, checkpoints, change)
  elif out is None:
    raise UserError('--out is missing: set a folder for the results.')
  else:
    session = Session(change(config), out)
    own = configs.target(config).grid
    changed = own != configs.target(session.config).grid
    selected = checkpoint_selection.of_paths(
      checkpoints, session.config, session.names, own if changed else None
    )
  if len(selected) == 1:
    session.score(selected[0], session.out)
    return session.results
  failed = []
  for candidate in selected:
    print(f'{candidate.name}:', flush=True)
    try:
      session.score(candidate, session.out / candidate.folder)
    except output_dir.UnwritableOutput:
      raise
    except UserError as error:
      failed.append(candidate.name)
      print(f'error: {candidate.name}: {error}', file=sys.stderr, flush=True)
  if session.results:
    session.write_table()
    lines = score_table.lines(list(session.rows.values()))
    print('\n'.join(lines), flush=True)
  if failed:
    raise UserError(
      f'{len(failed)} of {len(selected)} checkpoints could not be scored: '
      f'{", ".join(failed)}.'
    )
  return session.results


class Session:
  """Evaluates checkpoints of one model on one split; compiles the model once.

  Arguments are those of `evaluate`.

  Attributes:
    config, out: resolved.
    names: class names of each head in the split.
    results: content of metrics.json of each scored checkpoint, by its name.
    rows: rows of scores.csv, by output folder name.
  """

  def __init__(
    self,
    config: TrainConfig,
    out: str | os.PathLike | None,
    workdir: str | os.PathLike | None = None,
  ):
    data, split = config.data, config.evaluation.split
    splits = datasets.splits(data.dataset, data.data_dir)
    if split not in splits:
      raise UserError(
        f"evaluation.split is '{split}', but {data.dataset} has the splits "
        f'{", ".join(splits)}: set --split to one of them.'
      )
    source = datasets.open_split(data.dataset, data.data_dir, split)
    self.names: Mapping[str, list[str]] = source.label_names
    if workdir is None:
      config = configs.resolve_heads(config, self.names)
    self.config, self._source, self._workdir = config, source, workdir
    self.out = pathlib.Path(out or pathlib.Path(workdir, 'evaluation', split))
    self.results: dict[str, Results] = {}
    self.rows: dict[str, dict[str, Any]] = {}
    self._predictor = SplitPredictor(config, source)
    self._described = False
    output_dir.check_empty_or_ours(self.out)

  def score(
    self, candidate: Candidate, where: pathlib.Path, again: bool = True
  ) -> None:
    """Scores a checkpoint, prints its scores and writes its results to `where`.

    If not `again`, reuses results of the same weights and protocol.

    Raises:
      UserError: the checkpoint cannot be read or scored.
    """
    loaded = self._load(candidate)
    labels.check_label_names(loaded.label_names, self.names)
    with output_dir.claimed(where):
      results = None if again else self._previous(loaded, where)
      if results is None:
        self._describe(candidate, loaded)
        results = self._evaluate(loaded, where)
      else:
        print(f'{candidate.name} is scored already: {where}', flush=True)
      self.results[candidate.name] = results
      self.rows[where.name] = score_table.row(where.name, results)

  def write_table(self) -> None:
    """Writes scores.csv with all checkpoints scored so far."""
    if distributed.first():
      score_table.write(self.out, list(self.rows.values()))

  def _load(self, candidate: Candidate) -> LoadedModel:
    """Reads a checkpoint; all processes raise if any of them cannot read it."""
    loaded, error = None, None
    try:
      loaded = candidate.load()
    except UserError as caught:
      error = caught
    if not distributed.gather(np.array([error is None])).all():
      raise error or UserError('another process cannot read the checkpoint.')
    return loaded

  def _describe(self, candidate: Candidate, loaded: LoadedModel) -> None:
    """Prints the checkpoint and, once, the settings of the evaluation."""
    if not distributed.first():
      return
    lines = [describe.checkpoint(candidate, loaded)]
    if not self._described:
      lines += describe.settings(self.config, loaded, len(self._source))
    self._described = True
    print('\n'.join(lines), flush=True)

  def _previous(
    self, loaded: LoadedModel, where: pathlib.Path
  ) -> Results | None:
    """Returns finished results with the same weights and protocol, or None."""
    try:
      results = json.loads((where / 'metrics.json').read_text('utf-8'))
      protocol = self._predictor.protocol(loaded)
      same = all(results['protocol'][key] == protocol[key] for key in protocol)
    except (OSError, ValueError, KeyError, TypeError):
      results, same = None, False
    every = distributed.gather(np.array([same]))
    return results if every.all() else None

  def _evaluate(self, loaded: LoadedModel, where: pathlib.Path) -> Results:
    """Predicts the split, writes the results and prints the scores."""
    predicted, partial = self._predictor.predict(loaded, where)
    if distributed.first():  # slow for many classes and videos
      print(f'scoring {len(predicted.ids)} predictions', flush=True)
    try:
      results = summary.summary(predicted, self.config)
    except UserError:
      partial.remove()  # the same predictions would fail again
      raise
    if distributed.first():
      report.write(
        where, predicted, results, source=self._source, workdir=self._workdir
      )
      partial.remove()
      _print_scores(results, len(self._source), where)
    return results


def _print_scores(results: Results, videos: int, where: pathlib.Path) -> None:
  """Prints scores with intervals, and how many videos are unreadable."""
  for name, value in results['scores'].items():
    interval = ''
    if name in results['intervals']:
      low, high = results['intervals'][name]
      interval = f'  ({low:.4f} to {high:.4f})'
    if not name.endswith(('/mean_class_accuracy', '/calibration_error')):
      print(f'{name:>16}  {value:.4f}{interval}')
  protocol = results['protocol']
  unreadable = protocol['unreadable']
  if unreadable:
    print(
      f'{len(unreadable)} of {videos} videos cannot be read and are left out '
      f"(first '{unreadable[0]}'; metrics.json lists all)"
    )
  print(
    f'{protocol["examples"]} videos, {protocol["checkpoint"]}; report: '
    f'{where / "report.html"}',
    flush=True,
  )
