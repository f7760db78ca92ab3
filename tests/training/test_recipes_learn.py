"""Recipes of today learn verbs, with smaller models and clips."""

import importlib

import pytest
from test_families_learn import BATCH, CROP, FRAMES, accuracy_of

from vivit_jax import config as configs

SIZES = {
  'video_swin': {
    'width': 64, 'depths': (2, 2), 'attention_heads': (4, 8),
    'tubelet': (4, 8, 8),
  },
  'videomae': {
    'width': 64, 'attention_heads': 4, 'mlp_width': 128, 'layers': 2,
    'tubelet': (2, 8, 8),
  },
  'mvit': {'width': 48, 'layers': 3, 'attention_heads': 2, 'stages': (1,)},
}  # fmt: skip
# Config -> learning rate for a small model from random weights.
RECIPES = {
  'k400_swin_t': 1e-2,
  'k400_swin_s': 1e-2,
  'k400_swin_b': 1e-2,
  'k600_swin_b': 1e-2,
  'ssv2_swin_b': 1e-2,
  'k400_mvit_b16x4': 1e-3,
  'k400_mvit_b32x3': 1e-3,
  'k400_mvitv2_s16x4': 1e-3,
  'k400_mvitv2_b32x3': 1e-3,
  'k400_mvitv2_l40x3': 1e-3,
  'ssv2_mvitv2_s16x4': 0.05,
  'ssv2_mvitv2_b32x3': 0.05,
  'k400_videomae_b': 1e-3,
}


def shrunk(name: str) -> configs.TrainConfig:
  """Returns a recipe for the clips of `test_families_learn`.

  Left out: flips, which would turn the verbs, and what the host does (crops,
  geometry, repeats). Of RandAugment, one layer of timm's colours is left.
  """
  keys = importlib.import_module(f'configs.{name}').get_config()
  keys.model.options.update(SIZES[keys.model.family])
  keys.model.size = 'B'
  if keys.model.family == 'video_swin':
    keys.model.options.window = 4, 4, 4
  keys.model.heads, keys.data.dataset = {'verb': 2}, 'moving_shapes'
  keys.model.stochastic_depth = min(0.1, keys.model.stochastic_depth)
  keys.data.frames, keys.data.crop = FRAMES, (CROP, CROP)
  keys.data.short_side, keys.data.crop_area = CROP, None
  keys.data.frames_per_second = None
  keys.data.scale_jitter, keys.data.scale_jitter_uniform = (1.0, 1.0), 'factor'
  keys.augment.flip, keys.augment.repeats = 0.0, 1
  timms = keys.augment.randaugment_scale == 'timm'
  keys.augment.randaugment_layers = 1 if timms else 0
  keys.optim.learning_rate = RECIPES[name]
  keys.optim.warmup_epochs = 0.5
  keys.train.batch_size, keys.train.accumulate = BATCH, 1
  return configs.resolve(keys)


# Recipes that differ only in what is left out are trained once.
DISTINCT = {configs.to_json(shrunk(name)): name for name in RECIPES}


@pytest.mark.slow
@pytest.mark.parametrize('name', DISTINCT.values())
def test_a_recipe_learns_a_verb_from_its_reverse(name):
  assert accuracy_of(shrunk(name), 1000, enough=0.85) > 0.8
