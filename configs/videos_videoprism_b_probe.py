r"""A probe of VideoPrism-B on your own videos.

  python -m vivit_jax.probe --config=configs/videos_videoprism_b_probe.py \
    --config.data.dataset=videos/NAME --workdir=runs/NAME \
    --config.init_from=hf://google/videoprism-base-f16r288

Hardware: not tried; docs/probing.md has the arithmetic. 1000 videos need 25 GB
of disk for stored tokens.
Expected: no figure; the classes decide.

Pool, dropout and label smoothing are VideoGLUE's (arXiv 2307.03166). Its one
learning rate is the middle of three here.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('videoprism')
  config.model.dropout = 0.5
  config.data.dataset = 'videos/mine'
  config.data.sampling = 'clip'
  config.data.stride = 4
  config.data.short_videos = 'loop'
  config.data.scale_jitter = (1.0, 1.25)
  config.optim.name = 'adamw'
  config.optim.warmup_epochs = 1.0
  config.optim.weight_decay = 1e-5
  config.optim.weight_decay_on = 'matrices'
  config.optim.clip_norm = None
  config.train.batch_size = 32
  config.train.epochs = 20.0
  config.train.label_smoothing = 0.1
  config.train.validate_every = 0
  config.train.validate_epochs = 1.0
  config.probe.pools = ('attention/videoglue', 'mean')
  config.probe.learning_rates = (1e-3, 1e-4, 1e-5)
  config.probe.tokens = 'stored'
  config.probe.clips = 4
  return config
