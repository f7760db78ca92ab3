"""The demo without its temporal encoder: blind to the order of time.

  python train.py --config=configs/moving_shapes_ti8x2_avg.py --workdir=runs/avg

It can tell shapes, and pairs of verbs, but not the two verbs of a pair.
"""

import ml_collections

from configs import moving_shapes_ti8x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = moving_shapes_ti8x2_fe.get_config()
  config.model.options.temporal_layers = 0
  return config
