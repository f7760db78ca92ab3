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
    ('train.validation_split', 'val', 'train.validation_split'),
    ('evaluation.split', 'tets', "evaluation.split.*'tets'.*'test'"),
    ('evaluation.temporal_views', 9, 'evaluation.temporal_views is 9'),
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
