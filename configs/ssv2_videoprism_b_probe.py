r"""A probe of VideoPrism-B on Something-Something v2 (arXiv 2402.13217).

  python -m vivit_jax.probe --config=configs/ssv2_videoprism_b_probe.py \
    --workdir=runs/ssv2_videoprism_b_probe \
    --config.init_from=hf://google/videoprism-base-f16r288

Hardware: not tried. 60,000 steps x 256 clips x 491.5 G multiply-adds are 1.5e19
operations: 21 hours of an H100 at a fifth of its bfloat16 peak.
Expected: 62.2 top-1 (1 x 3 views; google-deepmind/videoprism's README).

As configs/k400_videoprism_b_probe.py, but one frame of each of 16 segments, and
no flip: it would turn 'left to right' into its opposite.
"""

import ml_collections

from configs import k400_videoprism_b_probe


def get_config() -> ml_collections.ConfigDict:
  config = k400_videoprism_b_probe.get_config()
  config.model.heads = {'label': 174}
  config.data.dataset = 'something_something_v2'
  config.data.sampling = 'segments'
  config.augment.flip = 0.0
  config.optim.warmup_steps = 2000
  config.train.epochs = 60_000 * 256 / 168_913  # videos
  config.evaluation.temporal_views = 1
  return config
