"""ViViT-B/16x2 (Model 4, factorised dot-product attention) on Kinetics-400.

  python train.py --config=configs/k400_b16x2_fdp.py --workdir=runs/k400_fdp

Paper, table 2: 76.3 top-1 (4 x 3 views), from an image model of ImageNet-21k.
"""

import ml_collections

from configs import k400_b16x2_fe
from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  configs.set_family(config, 'factorised_dot_product')
  return config
