"""ViViT-B/16x2 (Model 3, factorised self-attention) on Kinetics-400.

  python train.py --config=configs/k400_b16x2_fsa.py --workdir=runs/k400_fsa

Paper, table 2: 77.4 top-1 (4 x 3 views), from an image model of ImageNet-21k.
"""

import ml_collections

from configs import k400_b16x2_fe
from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  configs.set_family(config, 'factorised_self_attention')
  return config
