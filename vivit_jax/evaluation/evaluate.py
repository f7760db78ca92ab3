"""Evaluates checkpoints on a split: the library behind evaluate.py."""

import functools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
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
  table,
)
from vivit_jax.evaluation.checkpoint_selection import Candidate
from vivit_jax.evaluation.split_predictor import SplitPredictor
from vivit_jax.models.family import Grid

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
    workdir: of a run; None to evaluate other checkpoints with `config`.
    config: of the experiment; needed only without a workdir.
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
      cannot be written. If some of several checkpoints fail, it is raised after
      the others are scored.
  """
  change = functools.partial(override, **changes)
  if workdir is None and out is None:
    raise UserError('--out is missing: the output folder of the evaluation.')
  if workdir is not None:
    session = Session.of_run(workdir, change, out)
    selected = checkpoint_selection.of_run(workdir, checkpoints, change)
  else:
    session = Session.of_config(change(config), out)
    selected = checkpoint_selection.of_paths(
      checkpoints, session.config, session.names, _own_grid(config, session)
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
    for line in table.lines(session.rows):
      print(line, flush=True)
  if failed:
    raise UserError(
      f'{len(failed)} of {len(selected)} checkpoints could not be scored: '
      f'{", ".join(failed)}.'
    )
  return session.results


class Session:
  """Evaluates checkpoints of one model on one split; compiles the model once.

  Args:
    config: of the evaluation, with its heads.
    source: the split.
    out: output folder.
    workdir: of the run; None for checkpoints without a run.

  Attributes:
    config, out: the arguments.
    names: class names of each head in the split.
    results: content of metrics.json of each scored checkpoint, by its name.
    rows: of scores.csv.
  """

  def __init__(
    self,
    config: TrainConfig,
    source: datasets.VideoSplit,
    out: str | os.PathLike,
    workdir: str | os.PathLike | None = None,
  ):
    self.config, self.out = config, pathlib.Path(out)
    self.names: Mapping[str, list[str]] = source.label_names
    self.results: dict[str, Results] = {}
    self.rows: list[dict[str, Any]] = []
    self._source, self._workdir = source, workdir
    self._predictor = SplitPredictor(config, source)
    self._described = False
    output_dir.check_empty_or_ours(self.out)

  @classmethod
  def of_run(
    cls,
    workdir: str | os.PathLike,
    change: Callable[[TrainConfig], TrainConfig],
    out: str | os.PathLike | None = None,
  ) -> 'Session':
    """Returns a session with the config of a run after `change`."""
    if not pathlib.Path(workdir).is_dir():
      raise UserError(f'there is no workdir {workdir}: train into it first.')
    config = change(workdirs.read_config(workdir))
    source = _open(config)
    default = pathlib.Path(workdir, 'evaluation', config.evaluation.split)
    return cls(config, source, out or default, workdir)

  @classmethod
  def of_config(cls, config: TrainConfig, out: str | os.PathLike) -> 'Session':
    """Returns a session with a config, without a run."""
    source = _open(config)
    return cls(configs.resolve_heads(config, source.label_names), source, out)

  def score(
    self, candidate: Candidate, where: pathlib.Path, again: bool = True
  ) -> None:
    """Scores a checkpoint, prints its scores and writes its results.

    Args:
      candidate: the checkpoint.
      where: output folder of this checkpoint.
      again: whether to repeat a finished evaluation with the same weights and
        protocol.

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
      others = [row for row in self.rows if row['results'] != where.name]
      self.rows = [*others, table.row(where.name, results)]

  def write_table(self) -> None:
    """Writes scores.csv with all checkpoints scored so far."""
    if distributed.first():
      table.write(self.out, self.rows)

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
    if distributed.first():  # many classes and videos take a while
      print(
        f'scoring {len(predicted.ids)} predictions, and writing the results to '
        f'{where}',
        flush=True,
      )
    try:
      results = report.contents(predicted, self.config)
    except UserError:
      partial.remove()  # the same predictions would fail again
      raise
    if not distributed.first():
      return results
    report.write(
      where, predicted, results, source=self._source, workdir=self._workdir
    )
    partial.remove()
    _print_scores(results, len(self._source), where)
    return results


def _own_grid(config: TrainConfig, session: Session) -> Grid | None:
  """Returns the token grid of the config, or None if no flag changed it."""
  own = configs.target(config).grid
  return None if own == configs.target(session.config).grid else own


def _open(config: TrainConfig) -> datasets.VideoSplit:
  return datasets.open_split(
    config.data.dataset, config.data.data_dir, config.evaluation.split
  )


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
