r"""Video Swin-T on Kinetics-400 (arXiv 2106.13230).

  python train.py --config=configs/k400_swin_t.py --workdir=runs/swin_t \
    --config.init_from=swin_tiny_patch4_window7_224.pth

Hardware: not tried. --config.train.accumulate=N and --config.model.remat=full
save memory.
Expected: 78.8 top-1, 93.6 top-5 (4 x 3 views;
SwinTransformer/Video-Swin-Transformer's README), starting from an ImageNet-1k
Swin-T.

Optimiser, rates, stochastic depth, crops and views: that project's code and
configuration. The backbone's rate is a tenth of the head's. Their batches of 64
clips add up the gradients of 4, hence 256 clips here. They train in mixed
precision; here, --config.model.dtype=bfloat16 does.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('video_swin')
  config.model.heads = {'label': 400}
  config.model.dropout = 0.5
  config.model.stochastic_depth = 0.1
  config.model.depth_rates = 'reference'
  config.data.dataset = 'kinetics400'
  config.data.short_videos = 'loop'
  config.data.crop_area = (0.08, 1.0)
  config.optim.name = 'adamw'
  config.optim.learning_rate = 1e-3
  config.optim.backbone_rate = 0.1
  config.optim.warmup_rate = 0.1
  config.optim.weight_decay = 0.02
  config.optim.weight_decay_on = 'not_norms'
  config.optim.clip_norm = None
  config.train.batch_size = 256
  config.train.accumulate = 4
  config.evaluation.views_from = 'parts'
  config.evaluation.average = 'probabilities'
  return config
