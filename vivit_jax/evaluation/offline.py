"""evaluate.py: from checkpoints to their results."""

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
from vivit_jax.checkpoints import run as workdirs
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.checkpoints.overrides import override
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets
from vivit_jax.errors import UserError
from vivit_jax.evaluation import candidates, folder, report, table
from vivit_jax.evaluation.candidates import Candidate
from vivit_jax.evaluation.scoring import Scorer

Found = dict[str, Any]  # what metrics.json holds


def evaluate(
  workdir: str | os.PathLike | None,
  *,
  config: TrainConfig | None = None,
  checkpoints: Sequence[str] = ('best',),
  out: str | os.PathLike | None = None,
  **changes,
) -> dict[str, Found]:
  """Scores checkpoints, prints the scores and writes the results.

  Args:
    workdir: of a run; None for checkpoints of any format, with a config.
    config: of the experiment, without a workdir.
    checkpoints: 'best', 'last', 'all', or steps' numbers; or paths, also of
      folders of several.
    out: the folder of the results; None for `<workdir>/evaluation/<split>`.
      Several checkpoints have folders of their own in it.
    **changes: of the config, as `overrides.override` takes them.

  Returns:
    What metrics.json holds of each checkpoint, by its name.

  Raises:
    UserError: no such run, checkpoint, split or views; labels that the
      checkpoint does not know; a folder that cannot be written. Of several
      checkpoints, those that can be are scored all the same.
  """
  changed = functools.partial(override, **changes)
  if workdir is None and out is None:
    raise UserError('--out is missing: say where the report shall go.')
  session = Session.of_run(workdir, changed, out) if workdir else None
  if session is not None:
    asked = candidates.of_run(workdir, checkpoints, changed)
  else:
    session = Session.of_config(changed(config), out)
    asked = candidates.of_paths(
      checkpoints, session.config, session.names, _own_grid(config, session)
    )
  if len(asked) == 1:
    session.score(asked[0], session.out)
    return session.found
  failed = {}
  for candidate in asked:
    print(f'{candidate.name}:', flush=True)
    try:
      session.score(candidate, session.out / candidate.folder)
    except folder.Unwritable:
      raise
    except UserError as error:
      failed[candidate.name] = str(error)
      print(f'error: {candidate.name}: {error}', file=sys.stderr, flush=True)
  if session.found:
    session.write_table()
    for line in table.lines(session.rows):
      print(line, flush=True)
  if failed:
    raise UserError(
      f'{len(failed)} of {len(asked)} checkpoints could not be scored: '
      f'{", ".join(failed)}.'
    )
  return session.found


class Session:
  """One split and one compiled model, for one checkpoint after another.

  Args:
    config: of the evaluation, with its heads.
    source: the split.
    out: folder of the results.
    workdir: of the run, if it is one's.

  Attributes:
    config, out: these.
    names: of the classes of each head of the split.
    found: what metrics.json holds of the checkpoints so far, by their names.
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
    self.found: dict[str, Found] = {}
    self.rows: list[dict[str, Any]] = []
    self._source, self._workdir = source, workdir
    self._scorer = Scorer(config, source)
    folder.check_empty_or_ours(self.out)

  @classmethod
  def of_run(cls, workdir, changed, out=None) -> 'Session':
    """Opens what a run's config asks for, changed by `changed`."""
    if not pathlib.Path(workdir).is_dir():
      raise UserError(f'there is no workdir {workdir}: train into it first.')
    config = changed(workdirs.read_config(workdir))
    source = _open(config)
    default = pathlib.Path(workdir, 'evaluation', config.evaluation.split)
    return cls(config, source, out or default, workdir)

  @classmethod
  def of_config(cls, config: TrainConfig, out: str | os.PathLike) -> 'Session':
    """Opens what a config asks for."""
    source = _open(config)
    return cls(configs.resolve_heads(config, source.label_names), source, out)

  def score(
    self, candidate: Candidate, where: pathlib.Path, again: bool = True
  ) -> None:
    """Scores a checkpoint, prints its scores and writes its results.

    Args:
      candidate: the checkpoint.
      where: folder of its results.
      again: also if they are there, of the same weights and protocol.

    Raises:
      UserError: it cannot be.
    """
    trained = self._load(candidate)
    labels.check_label_names(trained.label_names, self.names)
    with folder.claimed(where):
      there = None if again else self._there(trained, where)
      if there is None:
        there = self._scored(trained, where)
      else:
        print(f'{candidate.name} is scored already: {where}', flush=True)
      self.found[candidate.name] = there
      others = [row for row in self.rows if row['results'] != where.name]
      self.rows = [*others, table.row(where.name, there)]

  def write_table(self) -> None:
    """Writes scores.csv of the checkpoints so far."""
    if distributed.first():
      table.write(self.out, self.rows)

  def _load(self, candidate: Candidate) -> LoadedModel:
    """Reads a checkpoint, in all processes or in none."""
    trained, error = None, None
    try:
      trained = candidate.load()
    except UserError as caught:
      error = caught
    if not distributed.gather(np.array([error is None])).all():
      raise error or UserError('another process cannot read the checkpoint.')
    return trained

  def _there(self, trained: LoadedModel, where: pathlib.Path) -> Found | None:
    """Returns the results that are there, if they are what would come."""
    try:
      found = json.loads((where / 'metrics.json').read_text('utf-8'))
      asked = self._scorer.protocol(trained)
      same = all(found['protocol'][key] == asked[key] for key in asked)
    except (OSError, ValueError, KeyError, TypeError):
      found, same = None, False
    every = distributed.gather(np.array([same]))
    return found if every.all() else None

  def _scored(self, trained: LoadedModel, where: pathlib.Path) -> Found:
    """Predicts, writes and prints."""
    predicted, parts = self._scorer.table(trained, where)
    if distributed.first():  # of many classes and videos it takes a while
      print(
        f'scoring {len(predicted.ids)} predictions, and writing the results to '
        f'{where}',
        flush=True,
      )
    try:
      found = report.contents(predicted, self.config)
    except UserError:
      parts.remove()  # they would lead to the same
      raise
    if not distributed.first():
      return found
    report.write(
      where, predicted, found, source=self._source, workdir=self._workdir
    )
    parts.remove()
    _print(found, len(self._source), where)
    return found


def _own_grid(config: TrainConfig, session: Session):
  """Returns the grid of the config's own clips, if flags ask for others."""
  own = configs.target(config).grid
  return None if own == configs.target(session.config).grid else own


def _open(config: TrainConfig) -> datasets.VideoSplit:
  return datasets.open_split(
    config.data.dataset, config.data.data_dir, config.evaluation.split
  )


def _print(found: Found, examples: int, where: pathlib.Path) -> None:
  """Prints scores, with intervals, and what counts nowhere."""
  for name, value in found['scores'].items():
    interval = ''
    if name in found['intervals']:
      low, high = found['intervals'][name]
      interval = f'  ({low:.4f} to {high:.4f})'
    if not name.endswith(('/mean_class_accuracy', '/calibration_error')):
      print(f'{name:>16}  {value:.4f}{interval}')
  protocol = found['protocol']
  unreadable = protocol['unreadable']
  if unreadable:
    print(
      f'{len(unreadable)} of {examples} videos cannot be read, and count '
      f"nowhere ('{unreadable[0]}' is the first; all are in metrics.json)"
    )
  print(
    f'{protocol["examples"]} videos, {protocol["checkpoint"]}; report: '
    f'{where / "report.html"}',
    flush=True,
  )
