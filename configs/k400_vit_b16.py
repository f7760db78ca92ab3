r"""ViT-B/16 on each frame of a clip, averaged, on Kinetics-400.

  python train.py --config=configs/k400_vit_b16.py --workdir=runs/vit \
    --config.init_from=PATH

Hardware: as configs/k400_timesformer_b8x32.py.
Expected: no published figure. It is the baseline without any exchange between
frames, on the clips and with the recipe of configs/k400_timesformer_b8x32.py.

It is ViViT's Model 2 with tubelets of one frame and no temporal encoder: the
mean of the frames' normed class tokens, which with a linear head is the mean of
their logits. Clips may have any number of frames.
"""

import ml_collections

from configs import k400_timesformer_b8x32
from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = k400_timesformer_b8x32.get_config()
  configs.set_family(config, 'factorised_encoder')
  config.model.options.tubelet = (1, 16, 16)
  config.model.options.temporal_layers = 0
  config.model.options.gelu = 'exact'
  config.data.mean = (0.5, 0.5, 0.5)
  config.data.std = (0.5, 0.5, 0.5)
  return config
