r"""MViTv2-S, 16 frames, on Something-Something v2 (arXiv 2112.01526).

  python train.py --config=configs/ssv2_mvitv2_s16x4.py \
    --workdir=runs/ssv2_mvitv2_s \
    --config.init_from=MViTv2_S_16x4_k400_f302660347.pyth

Hardware: not tried.
Expected: 68.2 top-1, 91.4 top-5 (1 x 3 views; project page of MViTv2), starting
from its Kinetics-400 model.

Optimiser, schedule, augmentation and views: facebookresearch/SlowFast's
configuration, whose rates are those of a node of 16 clips; here there are 4
times as many. One frame of each of 16 segments. No flip: it would turn 'left to
right' into its opposite. In training, 1 / short side is uniform.
"""

import ml_collections

from configs import k400_mvitv2_s16x4


def get_config() -> ml_collections.ConfigDict:
  config = k400_mvitv2_s16x4.get_config()
  config.model.heads = {'label': 174}
  config.model.stochastic_depth = 0.4
  config.data.dataset = 'something_something_v2'
  config.data.sampling = 'segments'
  config.data.frames_per_second = None
  config.data.crop_area = None
  config.data.short_side = 224
  config.data.scale_jitter = (256 / 224, 320 / 224)
  config.data.scale_jitter_uniform = 'inverse'
  config.augment.flip = 0.0
  config.augment.repeats = 1
  config.optim.name = 'sgd'
  config.optim.nesterov = True
  config.optim.learning_rate = 4 * 0.0025
  config.optim.warmup_epochs = 3.0
  config.optim.warmup_rate = 1e-4 / 0.0025
  config.optim.final_rate = 1e-6 / 0.0025
  config.optim.weight_decay = 1e-4
  config.optim.clip_norm = None
  config.train.batch_size = 64
  config.train.epochs = 100.0
  config.evaluation.temporal_views = 1
  config.evaluation.spatial_crops = 3
  return config
