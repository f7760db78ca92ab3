r"""MViTv2-B 32 x 3 on Kinetics-400, from scratch (arXiv 2112.01526).

  python train.py --config=configs/k400_mvitv2_b32x3.py --workdir=runs/mvitv2_b

Hardware: not tried; 3.2 times the operations of configs/k400_mvit_b16x4.py.
Expected: 82.9 top-1, 95.7 top-5 (5 x 1 views; project page of MViTv2).

Optimiser, schedule, augmentation and views: as configs/k400_mvit_b16x4.py.
"""

import ml_collections

from configs import k400_mvitv2_s16x4


def get_config() -> ml_collections.ConfigDict:
  config = k400_mvitv2_s16x4.get_config()
  config.model.size = 'B'
  config.model.stochastic_depth = 0.3
  config.data.frames = 32
  config.data.frames_per_second = 30 / 3
  return config
