"""What is wrong is said before a workdir is made."""

import sys

import pytest

from configs import moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.training import loop


@pytest.mark.parametrize(
  'section, key, value, words',
  [
    ('model', 'size', 'XL', "model.size is 'XL'"),
    ('model', 'family', 'factorized_encoder', "mean 'factorised_encoder'"),
    ('data', 'frames', 16, 'shorter than a clip of 16 frames'),
    ('data', 'train_split', 'trian', "no split 'trian'"),
    ('train', 'validation_split', 'val', "is 'val', but moving_shapes has"),
    ('evaluation', 'temporal_views', 9, 'temporal_views'),
    ('evaluation', 'split', 'tets', "evaluation.split is 'tets'.*mean 'test'"),
    ('train', 'best_metric', 'verbs/top1', "mean 'verb/top1'"),
    ('train', 'best_metric', 'verb/mAP', 'there are .*verb/loss'),
    ('train', 'head_weights', {'verbs': 2.0}, "names verbs.*mean 'verb'"),
    ('train', 'accumulate', 7, 'which train.accumulate cuts in 7 parts'),
    ('train', 'wandb', 'videos', "is 'videos', but wandb is not installed"),
    ('optim', 'freeze', '^head', "freeze is '.head', which matches no"),
    ('', 'init_from', 'absent', 'cannot read the checkpoint absent'),
    ('', 'init_from', __file__, 'no checkpoint known here'),
  ],
)
def test_a_mistake_leaves_no_workdir(
  prepared, tmp_path, monkeypatch, section, key, value, words
):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  config = moving_shapes_ti8x2_fe.get_config()
  config.data.data_dir = str(prepared)
  if section:
    config[section][key] = value
  else:
    config[key] = value
  with pytest.raises(UserError, match=words):
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
  with pytest.raises(UserError, match='verb with 5 classes'):
    configs.resolve_heads(wrong, names)
