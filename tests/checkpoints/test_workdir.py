"""A workdir belongs to one experiment."""

import os

import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints import workdir
from vivit_jax.errors import UserError


def config(**train):
  changed = configs.default()
  changed.train.update(train)
  return configs.resolve(changed)


def claim(folder, config):
  with workdir.claimed(folder, config):
    pass


def test_a_folder_in_use_is_refused(tmp_path):
  with workdir.claimed(tmp_path, config()):
    with pytest.raises(UserError, match=tmp_path.name):
      claim(tmp_path, config())
  claim(tmp_path, config())


def test_another_config_is_refused_with_its_keys_and_values(tmp_path):
  claim(tmp_path, config())
  with pytest.raises(UserError, match='train.seed is 0 .* 4'):
    claim(tmp_path, config(seed=4))
  assert workdir.read_config(tmp_path) == config()


def test_keys_that_do_not_affect_the_curve_may_change(tmp_path):
  claim(tmp_path, config())
  claim(tmp_path, config(log_every=7))
  assert workdir.read_config(tmp_path).train.log_every == 7


def test_epochs_may_grow_alone(tmp_path):
  claim(tmp_path, config(epochs=3.0))
  assert not workdir.extends(tmp_path, config(epochs=3.0))
  assert workdir.extends(tmp_path, config(epochs=4.5))
  workdir.check(tmp_path, config(epochs=4.5))
  claim(tmp_path, config(epochs=4.5))
  assert workdir.read_config(tmp_path).train.epochs == 4.5
  with pytest.raises(UserError, match='train.epochs is 4.5 .* 3.0'):
    claim(tmp_path, config(epochs=3.0))
  with pytest.raises(UserError, match='config: train.seed is 0 there and 4'):
    claim(tmp_path, config(epochs=5.0, seed=4))
  assert not workdir.extends(tmp_path / 'absent', config())


def test_what_is_no_workdir_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  for use in (claim, workdir.check):
    with pytest.raises(UserError, match='file/run'):
      use(tmp_path / 'file' / 'run', config())
  with pytest.raises(UserError, match=tmp_path.name):
    workdir.read_config(tmp_path)
  (tmp_path / 'config.json').write_text('{"model": {"fam')
  for use in (workdir.read_config, lambda path: claim(path, config())):
    with pytest.raises(UserError, match='config.json'):
      use(tmp_path)


def test_a_check_writes_nothing(tmp_path):
  workdir.check(tmp_path / 'a' / 'b', config())
  assert not (tmp_path / 'a').exists()
  claim(tmp_path / 'a', config())
  with pytest.raises(UserError, match='train.seed is 0 .* 4'):
    workdir.check(tmp_path / 'a', config(seed=4))


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
  """The system's answer, which root would not get."""
  monkeypatch.setattr(os, 'access', lambda *_: False)
  with pytest.raises(UserError, match=str(tmp_path)):
    workdir.check(tmp_path / 'a', config())


def test_heads_of_the_dataset_are_not_compared(tmp_path):
  resolved = configs.with_heads(config(), {'verb': 3})
  claim(tmp_path, resolved)
  workdir.check(tmp_path, config())
  with pytest.raises(UserError, match='model.heads.verb is 3 .* 4'):
    workdir.check(tmp_path, configs.with_heads(config(), {'verb': 4}))
