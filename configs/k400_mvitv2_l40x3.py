r"""MViTv2-L 40 x 3 at 312 pixels on Kinetics-400 (arXiv 2112.01526).

  python train.py --config=configs/k400_mvitv2_l40x3.py \
    --workdir=runs/mvitv2_l --config.init_from=PATH

Hardware: not tried; a clip takes 2823 G multiply-adds, 40 times as many as in
configs/k400_mvit_b16x4.py. --config.model.remat=full saves memory.
Expected: 86.1 top-1, 97.0 top-5 (5 x 3 views; project page of MViTv2), starting
from an image MViTv2-L of SlowFast (--config.init_from).

Stochastic depth, clips, pixels and views: facebookresearch/SlowFast's
configuration, which is for tests alone. Optimiser and schedule are those of
configs/k400_mvitv2_b32x3.py, and promise no accuracy.
"""

import ml_collections

from configs import k400_mvitv2_b32x3


def get_config() -> ml_collections.ConfigDict:
  config = k400_mvitv2_b32x3.get_config()
  config.model.size = 'L'
  config.model.stochastic_depth = 0.75
  config.data.frames = 40
  config.data.crop = (312, 312)
  config.data.short_side = 312
  config.data.mean = (0.485, 0.456, 0.406)
  config.data.std = (0.229, 0.224, 0.225)
  config.evaluation.spatial_crops = 3
  return config
