"""A small experiment with every regulariser on."""

import ml_collections
from flax import linen as nn

from vivit_jax import config as configs
from vivit_jax import models


def config() -> ml_collections.ConfigDict:
  """Returns the experiment; `model` is its network."""
  config = configs.default()
  config.data.frames, config.data.crop = 4, (16, 16)
  config.data.short_side, config.data.workers = 20, 0
  config.augment.colour_jitter = 0.8
  config.augment.colour_drop = 0.3
  config.augment.randaugment_layers = 2
  config.augment.erasing = 0.7
  config.augment.mixup = 0.5
  config.augment.cutmix = 1.0
  config.train.label_smoothing = 0.1
  return config


def model_config(heads: dict[str, int]) -> models.ModelConfig:
  """Returns the config of the network, with stochastic depth."""
  return models.ModelConfig(
    'factorised_encoder',
    size='Ti',
    heads=heads,
    stochastic_depth=0.5,
    options={
      'tubelet': (2, 8, 8),
      'spatial_layers': 2,
      'temporal_layers': 1,
    },
  )


def model(heads: dict[str, int]) -> nn.Module:
  return models.build(model_config(heads))
