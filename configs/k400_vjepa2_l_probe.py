r"""Probe of V-JEPA 2-L on Kinetics-400 (arXiv 2506.09985).

  python -m vivit_jax.probe --config=configs/k400_vjepa2_l_probe.py \
    --workdir=runs/vjepa2_l_k400 \
    --config.init_from=hf://facebook/vjepa2-vitl-fpc64-256

The encoder is frozen; 20 attentive pools with heads are trained side by side,
of 5 learning rates and 4 weight decays. Each has 49 million parameters: with
their moments, 12 GB.

Hardware: not tried.
Expected: not known for this size and these clips.

Optimiser, schedule, augmentation and views: facebookresearch/vjepa2, whose
probes decay all parameters and flip on no dataset. A video is 8 clips of 16
frames, whose tokens are pooled together in training too; the probabilities of
three crops are averaged. Differences, beside those of docs/augmentation.md: it
crops and augments each of the clips apart, and computes in float16, here in
bfloat16.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('vjepa2')
  config.model.size = 'L'
  config.model.heads = {'label': 400}
  config.model.dtype = 'bfloat16'
  config.data.dataset = 'kinetics400'
  config.model.clips = config.data.clips = 8
  config.data.frames = 8 * 16
  config.data.stride = 4
  config.data.short_videos = 'hold'
  config.data.short_side = 256  # of three spatial crops
  config.data.crop_area = (0.08, 1.0)
  config.augment.flip = 0.0
  config.augment.randaugment_layers = 4
  config.augment.randaugment_magnitude = 7.0
  config.augment.randaugment_scale = 'timm'
  config.augment.randaugment_deviation = 0.5
  config.augment.erasing = 0.25
  config.augment.erasing_fill = 'noise_per_frame'
  config.optim.train = '^(output_projection|attention_pool)'
  config.optim.name = 'adamw'
  config.optim.learning_rate = 1e-3
  config.optim.warmup_epochs = 0.0
  config.optim.weight_decay = 0.1
  config.optim.weight_decay_on = 'all'
  config.optim.clip_norm = None
  config.probe.learning_rates = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
  config.probe.weight_decays = (0.01, 0.1, 0.4, 0.8)
  config.train.batch_size = 256
  config.train.epochs = 20.0
  config.evaluation.temporal_views = 1
  config.evaluation.views_from = 'start'
  config.evaluation.spatial_crops = 3
  config.evaluation.average = 'probabilities'
  return config
