"""Mistakes are refused before a workdir is made; heads."""

import sys

import pytest

from configs import moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.training import loop


@pytest.mark.parametrize(
  'key, value, named',
  [
    ('model.size', 'XL', 'model.size'),
    ('model.family', 'factorized_encoder', "'factorised_encoder'"),
    ('data.frames', 16, '16 frames'),
    ('data.train_split', 'trian', "'trian'"),
    ('train.validation_split', 'val', 'train.validation_split'),
    ('evaluation.temporal_views', 9, 'evaluation.temporal_views is 9'),
    ('evaluation.split', 'tets', "evaluation.split is 'tets'.*'test'"),
    ('train.best_metric', 'verbs/top1', "train.best_metric.*'verb/top1'"),
    ('train.best_metric', 'verb/mAP', 'train.best_metric'),
    ('train.head_weights', {'verbs': 2.0}, "verbs.*'verb'"),
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
  config = moving_shapes_ti8x2_fe.get_config()
  config.data.data_dir = str(prepared)
  *sections, name = key.split('.')
  section = config
  for part in sections:
    section = section[part]
  section[name] = value
  with pytest.raises(UserError, match=named):
    loop.train(configs.resolve(config), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_heads_come_from_the_dataset():
  config = configs.resolve(moving_shapes_ti8x2_fe.get_config())
  names = {'verb': ['a', 'b'], 'noun': ['x', 'y', 'z']}
  found = configs.resolve_heads(config, names)
  assert found.model.heads == {'noun': 3, 'verb': 2}
  one = configs.with_heads(config, {'verb': 2})
  assert configs.resolve_heads(one, names).model.heads == {'verb': 2}
  wrong = configs.with_heads(config, {'verb': 5})
  with pytest.raises(UserError, match='model.heads.verb is 5'):
    configs.resolve_heads(wrong, names)
