r"""VTN with ViT-B/16, 16 x 8, on Kinetics-400 (arXiv 2102.00719).

  python train.py --config=configs/k400_vtn_b16x8.py --workdir=runs/vtn \
    --config.init_from=PATH

and, on all 250 frames of a video at once,

  python evaluate.py --workdir=runs/vtn --frames=250 --sampling=whole \
    --views=1x1

Hardware: not tried. The authors used 4 GPUs.
Expected: 77.72 top-1, 93.24 top-5 (whole videos, centre crop; the model zoo of
bomri/SlowFast), starting from an ImageNet-21k ViT-B/16 (--config.init_from).

Optimiser, schedule, crops and dropout: that project's code and configuration. A
training clip is 16 frames spread over 128 of a video of 25 frames a second.
Position embeddings count from the clip's first frame, as there. Its evaluation
takes 250 frames up to number min(N, 10 x frame rate - 1), and ours to the last
one, N - 1.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('vtn')
  config.model.heads = {'label': 400}
  config.model.options.numbers_from = 'clip'
  config.data.dataset = 'kinetics400'
  config.data.sampling = 'span'
  config.data.frames = 16
  config.data.frames_per_second = 25 / 8
  config.data.short_videos = 'hold'
  config.data.scale_jitter = (1.0, 320 / 256)
  config.data.mean = (0.45, 0.45, 0.45)
  config.data.std = (0.225, 0.225, 0.225)
  config.optim.learning_rate = 1e-3
  config.optim.warmup_epochs = 0.0
  config.optim.schedule = 'step'
  config.optim.decay_at = (13.0, 24.0)
  config.optim.nesterov = True
  config.optim.weight_decay = 1e-4
  config.optim.weight_decay_on = 'all'
  config.optim.clip_norm = None
  config.train.batch_size = 16
  config.train.epochs = 25.0
  config.evaluation.batch_size = 1
  config.evaluation.temporal_views = 1
  config.evaluation.spatial_crops = 1
  config.evaluation.views_from = 'start'
  return config
