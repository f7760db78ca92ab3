"""Mistakes are refused before a workdir is made."""

import sys

import demo
import pytest

from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.training import loop


@pytest.mark.parametrize(
  'key, value, named',
  [
    ('data.frames', 16, '16 frames'),
    ('data.train_split', 'trian', "'trian'"),
    ('train.validation_split', 'val', "train.validation_split is 'val'"),
    ('train.best_metric', 'verbs/top1', "train.best_metric.*'verb/top1'"),
    ('train.best_metric', 'verb/mAP', 'train.best_metric'),
    ('train.accumulate', 7, 'train.accumulate'),
    ('train.wandb', 'videos', 'train.wandb'),
    ('optim.freeze', '^head', 'optim.freeze'),
    ('init_from', 'absent', 'init_from'),
    ('init_from', __file__, 'test_loop.py'),
  ],
)
def test_a_mistake_leaves_no_workdir(
  prepared, tmp_path, monkeypatch, key, value, named
):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  config = demo.config(prepared, **{key: value})
  with pytest.raises(UserError, match=named):
    loop.train(configs.resolve(config), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_all_missing_splits_are_named_at_once(prepared, tmp_path):
  def error(**changes):
    config = configs.resolve(demo.config(prepared, **changes))
    with pytest.raises(UserError) as caught:
      loop.train(config, tmp_path / 'run')
    return str(caught.value)

  splits = {'data.train_split': 'a', 'train.validation_split': 'b'}
  text = error(**splits)
  for word in (*splits, "'a'", "'b'", 'train, validation', 'validate_every'):
    assert word in text
  # Without validation, and for evaluate.py's own split, none is needed.
  unused = {'train.validation_split': 'b', 'evaluation.split': 'c'}
  later = {'train.validate_every': 0, 'optim.freeze': '^head'}
  assert 'optim.freeze' in error(**unused, **later)
