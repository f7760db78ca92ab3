r"""A probe of VideoPrism-B, 16 x 4, on Kinetics-400 (arXiv 2402.13217).

  python -m vivit_jax.probe --config=configs/k400_videoprism_b_probe.py \
    --workdir=runs/videoprism_b_probe \
    --config.init_from=hf://google/videoprism-base-f16r288

Hardware: not tried. 240,000 videos x 150 epochs x 491.5 G multiply-adds,
forward alone, are 3.5e19 operations: 49 hours of an H100 at a fifth of its
bfloat16 peak (--config.model.dtype=bfloat16). --config.train.accumulate=N saves
memory.
Expected: 82.9 top-1 (4 x 3 views; google-deepmind/videoprism's README).

The encoder is frozen; a pool by attention and a head are trained. Pool,
optimiser, schedule and views are VideoGLUE's (arXiv 2307.03166), at
VideoPrism's 288 pixels. Our choices, which promise nothing: in training, the
short side is 1 to 1.25 times the crop; gradients are not clipped.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('videoprism')
  config.model.heads = {'label': 400}
  config.model.attention_pool.form = 'videoglue'
  config.model.dropout = 0.5
  config.data.dataset = 'kinetics400'
  config.data.sampling = 'clip'
  config.data.stride = 4
  config.data.short_videos = 'loop'
  config.data.scale_jitter = (1.0, 1.25)
  config.optim.train = '^(output_projection|attention_pool)/'
  config.optim.name = 'adamw'
  config.optim.learning_rate = 1e-4
  config.optim.warmup_steps = 4600
  config.optim.weight_decay = 1e-5
  config.optim.weight_decay_on = 'matrices'
  config.optim.clip_norm = None
  config.train.batch_size = 256
  config.train.epochs = 150.0
  config.train.label_smoothing = 0.1
  return config
