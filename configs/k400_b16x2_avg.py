"""ViViT-B/16x2 FE without its temporal encoder on Kinetics-400.

  python train.py --config=configs/k400_b16x2_avg.py --workdir=runs/k400_avg

Paper, table 2: 75.8 top-1 (4 x 3 views), from an image model of ImageNet-21k.
"""

import ml_collections

from configs import k400_b16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  config.model.options.temporal_layers = 0
  return config
