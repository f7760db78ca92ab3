"""The best head of a probe as a checkpoint, and a table of all heads."""

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.checkpoints import metadata
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.evaluation import score_table
from vivit_jax.evaluation.page import curves
from vivit_jax.probing.grid import Grid
from vivit_jax.training.experiment import Experiment
from vivit_jax.training.step import TrainState


def write(
  built: Experiment,
  grid: Grid,
  initial: TrainState,
  encoder: Any,
  folder: pathlib.Path,
  inside: pathlib.Path,
) -> None:
  """Writes the best head of the best step as the checkpoint of `folder`.

  Prints and writes the table of all heads, probe.csv. It may be called again.

  Args:
    built, grid: the probe.
    initial: a state of its shapes.
    encoder: the encoder's parameters.
    folder: the probe's workdir.
    inside: the workdir of the run of all heads.

  Raises:
    UserError: no validation, or files that cannot be read or written.
  """
  with Store(inside, read_only=True) as store:
    at = store.find('best')
    state = store.restore(at, initial)
  scores = metadata.read(inside.absolute() / 'checkpoints', at)['scores']
  if not scores:
    raise UserError(
      f'no validation of {inside} has scored a head, so none is best: repair '
      'the validation videos and train for more epochs, or lower '
      'probe.learning_rates in another --workdir.'
    )
  head = grid.best(scores)
  config = grid.config_of(head)

  def whole(tree):
    return {**encoder, **grid.select(tree, head)}

  alone = TrainState(
    state.step,
    whole(state.params),
    grid.select(state.opt_state, head),
    state.ema and whole(state.ema),
  )
  description = dataclasses.replace(built.description, config=config)
  with workdirs.locked(folder):
    _save(folder, at, alone, description, head.scores(scores))
    workdirs.write_config(folder, config)
  rows = table(grid, inside, at, scores)
  score_table.write(folder, rows, 'probe.csv')
  print('\n'.join(score_table.lines(rows, 'head: pool, rate, decay', 'head')))
  for row in rows:
    if row['skipped'] or 'loss' not in row:
      print(
        f'{row["head"]} has diverged: {row["skipped"]:.0%} of its updates were '
        'not finite, and were skipped; its rate is too high'
      )
  print(f'best: {head.name} at step {at}; evaluate.py --workdir={folder}')


def _save(
  folder: pathlib.Path,
  at: int,
  state: TrainState,
  description: metadata.Description,
  scores: Mapping[str, float],
) -> None:
  """Makes the state the only checkpoint of a folder, unless it is there.

  One of fewer epochs is deleted last, because it may be all that has the
  encoder.
  """
  kept = folder / 'checkpoints'
  if at in metadata.steps(folder):
    try:
      with Store(folder, read_only=True) as store:
        there = store.restore(at, state)
        if metadata.checksum(there) == metadata.checksum(state):
          return
    except UserError:
      pass  # damaged, or of another head
    shutil.rmtree(kept / str(at), ignore_errors=True)
  with Store(folder) as store:
    store.save(at, state, description, scores)
  for step in metadata.steps(folder):
    if step != at:
      shutil.rmtree(kept / str(step), ignore_errors=True)


def table(
  grid: Grid, inside: pathlib.Path, at: int, scores: Mapping[str, float]
) -> list[dict[str, Any]]:
  """Returns a row of each head at its best validation, the best head first.

  `scores` are those of the checkpoint `at`; the log adds other validations, and
  `skipped`, the share of updates that were not finite.
  """
  rows, log = [], curves.read(inside)
  for head in grid.heads:
    by_step = {at: head.scores(scores)}
    for name, points in log.items():
      metric = name.removeprefix('validation/').removesuffix(f'/{head.name}')
      if name == f'validation/{metric}/{head.name}':
        for step, value in zip(*points):
          by_step.setdefault(int(step), {})[metric] = float(value)
    best = max(by_step, key=lambda x, of=by_step: (grid.rank(of[x]), x))
    row = {'head': head.name, **dataclasses.asdict(head), 'step': best}
    skipped = np.mean(log.get(f'train/skipped/{head.name}', (0, 0.0))[1])
    rows.append(row | by_step[best] | {'skipped': float(skipped)})
  return sorted(rows, key=lambda row: (-grid.rank(row), -row['step']))
