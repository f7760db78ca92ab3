r"""Video Swin-B on Something-Something v2 (arXiv 2106.13230).

  python train.py --config=configs/ssv2_swin_b.py --workdir=runs/ssv2_swin_b \
    --config.init_from=swin_base_patch244_window1677_kinetics400_22k.pth

Hardware: as configs/k400_swin_t.py.
Expected: 69.6 top-1, 92.7 top-5 (1 x 3 views;
SwinTransformer/Video-Swin-Transformer's README), starting from a Kinetics-400
model with windows of 16 x 7 x 7.

One frame of each of 32 segments. No flip: it would turn 'left to right' into
its opposite. RandAugment there is imgaug's, with other operations and scales;
here it is TensorFlow's, of the same number and magnitude.
"""

import ml_collections

from configs import k400_swin_b


def get_config() -> ml_collections.ConfigDict:
  config = k400_swin_b.get_config()
  config.model.heads = {'label': 174}
  config.model.options.window = (16, 7, 7)
  config.model.stochastic_depth = 0.4
  config.data.dataset = 'something_something_v2'
  config.data.sampling = 'segments'
  config.augment.flip = 0.0
  config.augment.randaugment_layers = 4
  config.augment.randaugment_magnitude = 7.0
  config.augment.erasing = 0.25
  config.train.epochs = 60.0
  config.train.label_smoothing = 0.1
  config.evaluation.temporal_views = 1
  return config
