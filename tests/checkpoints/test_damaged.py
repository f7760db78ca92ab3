"""Damaged checkpoints are named with a reason, and set aside."""

import os
import pathlib
import shutil

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError

STATE = {
  'step': np.int32(1),
  'params': {'kernel': np.ones((30, 20), np.float32)},
}


@pytest.fixture
def two(tmp_path) -> pathlib.Path:
  """Returns a workdir with checkpoints 1 and 2."""
  config = configs.default()
  config.model.heads = {'verb': 2}
  about = Description(configs.resolve(config), {'verb': ['go', 'come']})
  with Store(tmp_path) as store:
    for step in (1, 2):
      store.save(step, STATE, about, {'top1': 0.5})
  return tmp_path


def overwritten(name, content):
  return lambda folder: (folder / '2' / name).write_bytes(content)


def removed(name):
  def do(folder):
    path = folder / '2' / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()

  return do


def copied(folder):
  shutil.copytree(folder / '2', folder / '99')


def linked_nowhere(folder):
  shutil.rmtree(folder / '2')
  os.symlink('/nowhere', folder / '2')


FILES = 'files are'
DAMAGE = [
  (overwritten('description/metadata', b'\xff\xfe'), FILES),
  (overwritten('description/metadata', b'{"step": 2}'), FILES),
  (removed('description'), 'No such file'),
  (removed('state'), FILES),
  (overwritten('state/_METADATA', b''), FILES),
  (removed('state/manifest.ocdbt'), FILES),
  (copied, 'copy of checkpoint 2'),
  (linked_nowhere, 'No such file'),
]


@pytest.mark.parametrize('do, reason', DAMAGE)
def test_a_damaged_checkpoint_is_named_and_set_aside(two, capsys, do, reason):
  folder = two / 'checkpoints'
  do(folder)
  step = 99 if do is copied else 2
  with Store(two, read_only=True) as store:
    with pytest.raises(UserError, match=f'checkpoint {step} .*{reason}'):
      store.describe(step)
      store.restore(step, STATE)
  with Store(two) as store:
    assert store.restore_last(STATE) is not None
    assert store.find('last') == (2 if do is copied else 1)
  lines = [x for x in capsys.readouterr().err.splitlines() if 'checkpoint' in x]
  assert len(lines) == 1 and reason in lines[0]
  assert f'{step}.damaged' in lines[0]
  assert not (folder / str(step)).exists()
  aside = folder / f'{step}.damaged'
  assert aside.is_symlink() if do is linked_nowhere else aside.exists()


def test_a_checkpoint_that_is_removed_meanwhile_is_damaged(two, monkeypatch):
  with Store(two, read_only=True) as store:
    # Orbax's answer for arrays that disappear between two of its reads.
    monkeypatch.setattr(
      store._manager, 'item_metadata', lambda step: {'state': None}
    )
    with pytest.raises(UserError, match='checkpoint 2 .*damaged'):
      store.restore_parameters(2)


def test_memory_that_runs_out_is_no_damage(two, monkeypatch):
  def exhausted(step, args):
    raise MemoryError

  with Store(two) as store:
    monkeypatch.setattr(store._manager, 'restore', exhausted)
    with pytest.raises(MemoryError):
      store.restore_last(STATE)
  assert (two / 'checkpoints' / '2').is_dir()
