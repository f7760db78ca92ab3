"""A run goes on for more epochs: steps, optimiser and the longer schedule."""

import math
import shutil

import demo
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from demo import EPOCH, rows

from vivit_jax import config as configs
from vivit_jax.checkpoints import load
from vivit_jax.errors import UserError
from vivit_jax.training import loop


def train(data_dir, workdir, epochs, **changes):
  keys = {
    'train__log_every': 1,
    'train__validate_every': 0,
    'optim__name': 'adamw',
    'optim__warmup_epochs': 0.0,
    'optim__learning_rate': 0.01,
  }
  config = demo.config(data_dir, **(keys | changes), train__epochs=epochs)
  assert loop.train(configs.resolve(config), workdir) == 0


def rates(workdir):
  return {row['step']: row['train/learning_rate'] for row in rows(workdir)}


def saved(workdir, step):
  """Returns all arrays of a checkpoint."""
  folder = workdir.absolute() / 'checkpoints' / str(step) / 'state'
  return ocp.StandardCheckpointer().restore(folder)


@pytest.mark.slow
def test_a_finished_run_goes_on_as_one_that_was_longer(prepared, tmp_path):
  """At a constant rate, all of the state is the same, bit for bit."""
  constant = {'optim__schedule': 'constant'}
  train(prepared, tmp_path / 'more', 1.0, **constant)
  train(prepared, tmp_path / 'more', 2.0, **constant)
  train(prepared, tmp_path / 'whole', 2.0, **constant)
  whole = saved(tmp_path / 'whole', 2 * EPOCH)
  for _ in range(2):
    more = saved(tmp_path / 'more', 2 * EPOCH)
    jax.tree.map(np.testing.assert_array_equal, more, whole)
    assert demo.losses(tmp_path / 'more') == demo.losses(tmp_path / 'whole')
    # As if it had been killed before it wrote a checkpoint of the second epoch.
    shutil.rmtree(tmp_path / 'more' / 'checkpoints' / str(2 * EPOCH))
    train(prepared, tmp_path / 'more', 2.0, **constant)


def test_the_rate_is_the_longer_schedules_at_each_step(
  prepared, tmp_path, capsys
):
  workdir = tmp_path / 'run'
  train(prepared, workdir, 1.0)
  train(prepared, workdir, 2.0)
  assert f'step {EPOCH} of {2 * EPOCH}' in capsys.readouterr().out
  expected = {
    step: 0.005 * (1 + math.cos(math.pi * (step - 1) / length))
    for length, first in ((EPOCH, 1), (2 * EPOCH, EPOCH + 1))
    for step in range(first, length + 1)
  }
  assert rates(workdir) == pytest.approx(expected, rel=1e-5)
  state = saved(workdir, 2 * EPOCH)
  leaves = jax.tree_util.tree_leaves_with_path(state['opt_state'])
  counts = {int(x) for path, x in leaves if 'count' in str(path[-1])}
  assert {int(state['step'])} == counts == {2 * EPOCH}
  # A checkpoint of the shorter run is one of the longer run.
  assert load.load(workdir, checkpoint=EPOCH).config.train.epochs == 2.0
  with pytest.raises(UserError, match='train.epochs is 2.0 there and 1.0 now'):
    train(prepared, workdir, 1.0)
  with pytest.raises(UserError, match='optim.learning_rate'):
    train(prepared, workdir, 3.0, optim__learning_rate=0.02)
