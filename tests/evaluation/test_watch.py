"""Which checkpoints a watch scores, of a run that is made up."""

import os
import shutil

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.evaluation import watch


class Session:
  """Scores nothing, but does what a run may do meanwhile."""

  def __init__(self, out, meanwhile):
    self.out, self._meanwhile = out, list(meanwhile)
    self.scored = []

  def score(self, candidate, where, again):
    assert where == self.out / candidate.folder and not again
    self.scored.append(candidate.name)
    if self._meanwhile:
      self._meanwhile.pop(0)()

  def write_table(self):
    pass


@pytest.fixture
def run(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  for step in (2, 4):
    save(tmp_path, step, when=10**18)
  return tmp_path


def save(workdir, step, when):
  folder = workdir / 'checkpoints' / str(step)
  shutil.rmtree(folder, ignore_errors=True)
  (folder / 'description').mkdir(parents=True)
  (folder / 'description' / 'metadata').write_text('')
  os.utime(folder / 'description' / 'metadata', ns=(when, when))


def watched(run, monkeypatch, *meanwhile):
  session = Session(run / 'out', meanwhile)
  monkeypatch.setattr(watch, 'Session', lambda *_: session)
  monkeypatch.setattr(watch.workdirs, 'read_config', lambda _: TrainConfig())
  monkeypatch.setattr(watch, '_last_step', lambda _: 4)
  watch.watch(run, poll=0.01)
  return session.scored


def test_the_last_step_is_that_of_the_runs_own_epochs(tmp_path):
  config = configs.default()
  config.model.heads = {'verb': 2}
  config.train.epochs, config.train.batch_size = 2.0, 64
  about = Description(
    configs.resolve(config), {'verb': ['go', 'run']}, '128 videos (digest a)'
  )
  with Store(tmp_path) as store:
    store.save(4, {'step': np.int32(4)}, about)
  for epochs, last in ((2.0, 4), (3.0, 6)):  # it may go on
    config.train.epochs = epochs
    text = configs.to_json(configs.resolve(config))
    (tmp_path / 'config.json').write_text(text)
    assert watch._last_step(tmp_path) == last


def test_each_checkpoint_is_scored_once(run, monkeypatch):
  assert watched(run, monkeypatch) == ['step 2', 'step 4']


def test_a_step_that_is_written_again_is_scored_again(run, monkeypatch, capsys):
  def damaged():
    raise UserError('it is damaged')

  def again():
    save(run, 2, when=10**18 + 10**9)
    damaged()

  # Twice it is tried; the second time, the run has written another one.
  scored = watched(run, monkeypatch, damaged, again)
  assert scored == ['step 2'] * 3 + ['step 4']
  assert 'step 2: it is damaged' in capsys.readouterr().err
