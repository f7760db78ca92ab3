r"""MViTv2-S 16 x 4 on Kinetics-400, from scratch (arXiv 2112.01526).

  python train.py --config=configs/k400_mvitv2_s16x4.py --workdir=runs/mvitv2_s

Hardware: not tried; 0.9 times the operations of configs/k400_mvit_b16x4.py.
Expected: 81.0 top-1, 94.6 top-5 (5 x 1 views; project page of MViTv2).

Optimiser, schedule, augmentation and views: as configs/k400_mvit_b16x4.py.
"""

import ml_collections

from configs import k400_mvit_b16x4


def get_config() -> ml_collections.ConfigDict:
  config = k400_mvit_b16x4.get_config()
  config.model.options.version = 2
  config.model.size = 'S'
  return config
