"""Damaged checkpoints are named with a reason that people understand."""

import os
import pathlib
import shutil

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints.on_disk import Description
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


def read_all(workdir):
  with Store(workdir, read_only=True) as store:
    for step in ('2', '1'):
      store.describe(store.find(step))
      store.restore(int(step), STATE)
    store.find('best')


MISSING = 'a part of it is missing or changed'
CHANGED = 'a JSON in it is cut off or changed'


@pytest.mark.parametrize(
  'name, content, reason',
  [
    ('description/metadata', b'', CHANGED),
    ('description/metadata', b'\xff\xfe', CHANGED),
    ('description/metadata', b'null', MISSING),
    ('description', None, 'No such file or directory'),
    ('metrics/metrics', b'{"top', CHANGED),
    ('state', None, MISSING),
    ('state/_METADATA', None, MISSING),
    ('state/_METADATA', b'', CHANGED),
    ('state/manifest.ocdbt', None, 'files of its arrays are missing'),
    ('state/manifest.ocdbt', b'{}', 'its arrays are cut off or changed'),
  ],
)
def test_the_reason_is_one_for_people(two, capsys, name, content, reason):
  path = two / 'checkpoints' / '2' / name
  if content is None and path.is_dir():
    shutil.rmtree(path)
  elif content is None:
    path.unlink()
  else:
    path.write_bytes(content)
  words = rf'^checkpoint 2 in .* is damaged \({reason}\): name another one\.'
  with pytest.raises(UserError, match=words):
    read_all(two)
  with Store(two) as store:
    store.restore_last(STATE)
  said = [x for x in capsys.readouterr().err.splitlines() if 'checkpoint' in x]
  assert len(said) == 1 and f'is damaged ({reason}): it is kept as' in said[0]


def copied(folder):
  shutil.copytree(folder / '2', folder / '99')


def linked_nowhere(folder):
  shutil.rmtree(folder / '2')
  os.symlink('/nowhere', folder / '2')


def a_file(folder):
  shutil.rmtree(folder / '2')
  (folder / '2').write_text('')


def metrics_a_folder(folder):
  (folder / '2' / 'metrics' / 'metrics').unlink()
  (folder / '2' / 'metrics' / 'metrics').mkdir()


@pytest.mark.parametrize(
  'do, step, last, reason',
  [
    (copied, 99, 2, 'it is a copy of checkpoint 2'),
    (linked_nowhere, 2, 1, 'No such file or directory'),
    (a_file, 2, 1, 'Not a directory'),
    (metrics_a_folder, 2, 1, 'Is a directory'),
  ],
)
def test_what_is_no_checkpoint_is_set_aside(
  two, capsys, do, step, last, reason
):
  folder = two / 'checkpoints'
  do(folder)
  words = rf'checkpoint {step} .*\({reason}\)|no checkpoint .{step}.'
  with pytest.raises(UserError, match=words):
    read_all(two)
  with Store(two) as store:
    assert store.find('last') == last
    assert store.restore_last(STATE) is not None
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and f'({reason}): it is kept as {step}.dam' in lines[0]
  assert (folder / f'{step}.damaged').is_symlink() == (do is linked_nowhere)
  assert not (folder / str(step)).exists()


def test_what_is_removed_while_it_is_read_is_damaged(two, monkeypatch):
  with Store(two, read_only=True, best_metric=None) as store:
    # What Orbax says of arrays that go between two of its looks.
    gone = {'state': None}
    monkeypatch.setattr(store._manager, 'item_metadata', lambda step: gone)
    with pytest.raises(UserError, match='checkpoint 2 in .* is damaged'):
      store.restore_parameters(2)
