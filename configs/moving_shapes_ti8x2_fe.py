"""The demo: a shallow ViViT-Ti/8x2 FE on the embedded moving_shapes videos.

  make demo

Hardware: 2 CPU cores, 4 to 14 minutes.
Expected: 0.984 verb, 0.963 noun top-1 (4 x 1 views; README.md).

A clip is every second frame of a video, 8 frames of 40 x 40 pixels. No flip: a
mirrored left_then_right is a right_then_left. The tubelet kernel starts random;
`central_frame` is for starting from an image model. As an example, `sweep`
compares learning rates and seeds:

  python sweep.py --config=configs/moving_shapes_ti8x2_fe.py --workdir=runs/s
"""

import itertools

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default()
  config.model.size = 'Ti'
  config.model.options.tubelet = (2, 8, 8)
  config.model.options.spatial_layers = 2
  config.model.options.temporal_layers = 2
  config.model.options.tubelet_init = 'random'
  config.data.dataset = 'moving_shapes'
  config.data.frames = 8
  config.data.stride = 2
  config.data.crop = (40, 40)
  config.data.short_side = 48
  config.data.workers = 1
  config.augment.flip = 0.0
  config.optim.name = 'adamw'
  config.optim.learning_rate = 7e-4
  config.optim.warmup_epochs = 0.6
  config.optim.b2 = 0.95
  config.optim.weight_decay = 0.05
  config.train.batch_size = 32
  config.train.epochs = 5.0
  config.train.log_every = 100
  config.train.validate_every = 500
  config.evaluation.split = 'test'
  config.evaluation.spatial_crops = 1
  return config


def sweep() -> list[dict]:
  return [
    {'optim.learning_rate': rate, 'train.seed': seed}
    for rate, seed in itertools.product((4e-4, 7e-4, 1.2e-3), (0, 1))
  ]
