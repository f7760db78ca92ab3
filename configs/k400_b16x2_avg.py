"""ViViT-B/16x2 FE (Model 2) on Kinetics-400, without a temporal encoder.

  python train.py --config=configs/k400_b16x2_avg.py --workdir=runs/k400_avg

A mean over time replaces the temporal encoder.

Hardware: docs/scaling.md estimates 8 x H100 and TPU v4-32.
Expected: 75.8 top-1 (4 x 3 views; paper, table 2), starting from an
ImageNet-21k ViT-B/16 (--config.init_from).
"""

import ml_collections

from configs import k400_b16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  config.model.options.temporal_layers = 0
  return config
