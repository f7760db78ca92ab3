r"""MViTv2-B, 32 frames, on Something-Something v2 (arXiv 2112.01526).

  python train.py --config=configs/ssv2_mvitv2_b32x3.py \
    --workdir=runs/ssv2_mvitv2_b \
    --config.init_from=MViTv2_B_32x3_k400_f304025456.pyth

Hardware: not tried.
Expected: 70.5 top-1, 92.7 top-5 (1 x 3 views; project page of MViTv2), starting
from its Kinetics-400 model.

Optimiser, schedule, augmentation and views: as configs/ssv2_mvitv2_s16x4.py.
"""

import ml_collections

from configs import ssv2_mvitv2_s16x4


def get_config() -> ml_collections.ConfigDict:
  config = ssv2_mvitv2_s16x4.get_config()
  config.model.size = 'B'
  config.data.frames = 32
  config.optim.learning_rate = 4 * 0.0015
  config.optim.warmup_rate = 1e-4 / 0.0015
  config.optim.final_rate = 1e-6 / 0.0015
  return config
