"""The image ViT that the study `inflation` starts from: nouns in single frames.

Model 1 with clips of one frame is a ViT.
"""

import ml_collections

from configs.study import base
from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  configs.set_family(config, 'joint')
  config.model.options.update(
    base.sizes() | {'layers': 3, 'tubelet': (1, 8, 8), 'tubelet_init': 'random'}
  )
  config.model.heads = {'noun': 8}
  config.data.frames = 1
  config.train.epochs = 6.0
  config.train.seed = 100  # no run's: jax would draw their kernels alike
  return config
