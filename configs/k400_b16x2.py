"""ViViT-B/16x2 (Model 1, joint attention) on Kinetics-400.

  python train.py --config=configs/k400_b16x2.py --workdir=runs/k400_b16x2

Hardware: docs/scaling.md estimates 8 x H100 and TPU v4-32.
Expected: 80.0 top-1 (4 x 3 views; paper, table 2), starting from an
ImageNet-21k ViT-B/16 (--config.init_from). The reference's released weights
score 79.9.
"""

import ml_collections

from configs import k400_b16x2_fe
from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  configs.set_family(config, 'joint')
  return config
