r"""MViT-B 32 x 3 on Kinetics-400, from scratch (arXiv 2104.11227).

  python train.py --config=configs/k400_mvit_b32x3.py --workdir=runs/mvit32

Hardware: not tried; 2.4 times the operations of configs/k400_mvit_b16x4.py.
Expected: 80.2 top-1 (5 x 1 views; paper).

The 16 blocks of the paper. facebookresearch/SlowFast configures 24, with wider
kernels, and has 80.4 for them: --config.model.size=B24 and
--config.model.stochastic_depth=0.3.
"""

import ml_collections

from configs import k400_mvit_b16x4


def get_config() -> ml_collections.ConfigDict:
  config = k400_mvit_b16x4.get_config()
  config.data.frames = 32
  config.data.frames_per_second = 30 / 3
  return config
