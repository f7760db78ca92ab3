r"""TimeSformer-B, divided, 8 frames on Something-Something v2.

  python train.py --config=configs/ssv2_timesformer_b8.py \
    --workdir=runs/ssv2_tsf --config.init_from=jx_vit_base_p16_224-80ecf9dd.pth

Hardware: as configs/k400_timesformer_b8x32.py.
Expected: 59.1 top-1, 85.6 top-5 (1 x 3 views; facebookresearch/TimeSformer's
README).

One frame of each of 8 segments. The model sees BGR, as that project's: its
option that would turn the channels does nothing for TimeSformer. No flip: it
would turn 'left to right' into its opposite. In training, 1 / short side is
uniform.
"""

import ml_collections

from configs import k400_timesformer_b8x32


def get_config() -> ml_collections.ConfigDict:
  config = k400_timesformer_b8x32.get_config()
  config.model.heads = {'label': 174}
  config.data.dataset = 'something_something_v2'
  config.data.sampling = 'segments'
  config.data.frames_per_second = None
  config.data.channels = 'bgr'
  config.data.scale_jitter_uniform = 'inverse'
  config.augment.flip = 0.0
  return config
