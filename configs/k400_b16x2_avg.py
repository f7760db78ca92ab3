"""ViViT-B/16x2 FE (Model 2) on Kinetics-400, with a mean over time.

  python train.py --config=configs/k400_b16x2_avg.py --workdir=runs/k400_avg

The mean replaces the temporal encoder.

Hardware: docs/scaling.md estimates 8 x H100 and TPU v4-32.
Expected: 75.8 top-1 (4 x 3 views; paper, table 2) with --config.init_from of an
image ViT-B/16 of ImageNet-21k.
"""

import ml_collections

from configs import k400_b16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  config.model.options.temporal_layers = 0
  return config
