r"""MViT-B 16 x 4 on Kinetics-400, from scratch (arXiv 2104.11227).

  python train.py --config=configs/k400_mvit_b16x4.py --workdir=runs/mvit

Hardware: not tried. 240,000 videos x 2 clips x 200 epochs x 3 x 70.6 G
multiply-adds are 4.1e19 operations: 57 hours of an H100 at a fifth of its
bfloat16 peak. --config.model.dtype=bfloat16, --config.train.accumulate=N and
--config.model.remat=stages save memory.
Expected: 78.4 top-1, 93.5 top-5 (5 x 1 views; facebookresearch/SlowFast's model
zoo; its file has no pooling of keys and values in the last two blocks).

Optimiser, schedule, augmentation and views: that project's configuration. Its
rate of 1e-4, and the rates at both ends of the schedule, are those of a node of
16 videos, 2 clips each; here there are 16 times as many. A clip is 16 frames
spread over 64 of a video of 30 frames a second.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('mvit')
  config.model.options.version = 1
  config.model.heads = {'label': 400}
  config.model.dropout = 0.5
  config.model.stochastic_depth = 0.2
  config.model.depth_rates = 'reference'
  config.data.dataset = 'kinetics400'
  config.data.sampling = 'span'
  config.data.frames = 16
  config.data.frames_per_second = 30 / 4
  config.data.short_videos = 'hold'
  config.data.crop_area = (0.08, 1.0)
  config.augment.randaugment_layers = 4
  config.augment.randaugment_magnitude = 7.0
  config.augment.randaugment_scale = 'timm'
  config.augment.randaugment_deviation = 0.5
  config.augment.erasing = 0.25
  config.augment.erasing_fill = 'noise_per_frame'
  config.augment.mixup = 0.8
  config.augment.cutmix = 1.0
  config.augment.repeats = 2
  config.optim.name = 'adamw'
  config.optim.learning_rate = 1.6e-3
  config.optim.warmup_epochs = 30.0
  config.optim.warmup_rate = 0.01
  config.optim.final_rate = 0.01
  config.optim.weight_decay = 0.05
  config.optim.weight_decay_on = 'matrices'
  config.optim.clip_norm = 1.0
  config.train.batch_size = 512
  config.train.epochs = 200.0
  config.train.label_smoothing = 0.1
  config.evaluation.temporal_views = 5
  config.evaluation.spatial_crops = 1
  config.evaluation.average = 'probabilities'
  return config
