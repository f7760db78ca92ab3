r"""STAM-16 with ViT-B/16 on Kinetics-400 (arXiv 2103.13915).

  python train.py --config=configs/k400_stam_b16.py --workdir=runs/stam16 \
    --config.init_from=PATH

Hardware: not tried.
Expected: 79.3 top-1 (1 x 1 view; Alibaba-MIIL/STAM's README) for the authors'
training, starting from an image ViT-B/16 (--config.init_from).

16 frames spread over the whole video, of ten seconds; pixels in [0, 1]; short
side 256, centre crop. The authors have not released their training code:
optimiser and schedule here are those of configs/k400_timesformer_b8x32.py, and
promise no accuracy.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('stam')
  config.model.heads = {'label': 400}
  config.data.dataset = 'kinetics400'
  config.data.sampling = 'whole'
  config.data.frames = 16
  config.data.scale_jitter = (1.0, 320 / 256)
  config.data.mean = (0.0, 0.0, 0.0)
  config.data.std = (1.0, 1.0, 1.0)
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
  config.evaluation.spatial_crops = 1
  return config
