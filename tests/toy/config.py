"""An experiment with the toy family, which this file registers."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import two_stages  # noqa: E402, F401

from vivit_jax import config as configs  # noqa: E402


def get_config():
  config = configs.default('two_stages')
  config.model.size = 'small'
  config.data.dataset = 'moving_shapes'
  config.data.frames, config.data.stride = 4, 4
  config.data.crop, config.data.short_side = (32, 32), 48
  config.data.workers = 0
  config.augment.flip = 0.0
  config.optim.name = 'adamw'
  config.optim.learning_rate = 1e-3
  config.optim.layer_decay = 0.5
  config.train.batch_size = 16
  config.train.epochs = 2 * 16 / 48  # two steps
  config.train.checkpoint_every = 1
  config.train.validate_every = 0
  config.evaluation.split = 'test'
  config.evaluation.temporal_views = 2
  config.evaluation.spatial_crops = 1
  return config
