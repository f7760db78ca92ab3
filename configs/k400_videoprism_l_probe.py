r"""A probe of VideoPrism-L, 8 x 8, on Kinetics-400 (arXiv 2402.13217).

  python -m vivit_jax.probe --config=configs/k400_videoprism_l_probe.py \
    --workdir=runs/videoprism_l_probe \
    --config.init_from=hf://google/videoprism-large-f8r288

Hardware: not tried; 1.5 times the operations of
configs/k400_videoprism_b_probe.py.
Expected: 85.0 top-1 (4 x 3 views; google-deepmind/videoprism's README).

As that config, with the 8 frames of the released weights. Their step is not
stated: at 8, clips are as long as those of B.
"""

import ml_collections

from configs import k400_videoprism_b_probe


def get_config() -> ml_collections.ConfigDict:
  config = k400_videoprism_b_probe.get_config()
  config.model.size = 'L'
  config.data.frames = 8
  config.data.stride = 8
  return config
