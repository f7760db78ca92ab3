r"""TimeSformer-B, divided, 8 x 32 on Kinetics-400 (arXiv 2102.05095).

  python train.py --config=configs/k400_timesformer_b8x32.py \
    --workdir=runs/tsf --config.init_from=jx_vit_base_p16_224-80ecf9dd.pth

Hardware: not tried. --config.train.accumulate=N and --config.model.remat=full
save memory.
Expected: 77.9 top-1, 93.2 top-5 (1 x 3 views; facebookresearch/TimeSformer's
README), starting from an ImageNet ViT-B/16 of timm.

Optimiser, schedule, stochastic depth, crops and views: that project's code and
configuration. A clip is 8 frames spread over 256 of a video of 30 frames a
second; the single clip of evaluation begins with the video. Training resizes
the short side to 256 to 320 pixels, evaluation to 224.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('timesformer')
  config.model.heads = {'label': 400}
  config.model.stochastic_depth = 0.1
  config.model.depth_rates = 'reference'
  config.model.options.depth_draws = 'paper'
  config.data.dataset = 'kinetics400'
  config.data.sampling = 'span'
  config.data.frames = 8
  config.data.frames_per_second = 30 / 32
  config.data.short_videos = 'hold'
  config.data.short_side = 224
  config.data.scale_jitter = (256 / 224, 320 / 224)
  config.optim.learning_rate = 0.005
  config.optim.warmup_epochs = 0.0
  config.optim.schedule = 'step'
  config.optim.decay_at = (11.0, 14.0)
  config.optim.nesterov = True
  config.optim.weight_decay = 1e-4
  config.optim.weight_decay_on = 'all'
  config.optim.clip_norm = None
  config.train.epochs = 15.0
  config.evaluation.temporal_views = 1
  config.evaluation.views_from = 'start'
  return config
