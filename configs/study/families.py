"""All families, and a probe, at equal FLOPs."""

import ml_collections

from configs.study import base

TITLE = 'Families at equal FLOPs'
PAPER = """The papers compare large models from different starts. Here all
models are trained from random weights for as many steps, but for the probe: an
attention pool and heads on a frozen image model, which has learned nouns."""
HEADS = ('verb',)
START = 'image'
FIGURES = True


def _sized(width: int) -> dict:
  return {'width': width, 'mlp_width': 4 * width}


def _own(family: str, **options) -> dict:
  """Returns the overrides of a family without ViViT's options."""
  named = {f'model.options.{key}': value for key, value in options.items()}
  return {'model.family': family, 'init_from': None} | named


_HEADS = {'attention_heads': 4, 'patch': 8}
_TEMPORAL = {
  'spatial_layers': 2, 'temporal_layers': 1, 'temporal_heads': 4,
  'temporal_mlp': 336,
}  # fmt: skip
ROWS = {
  'ViViT, Model 1': base.model('joint', layers=3),
  'ViViT, Model 2': base.model(
    'factorised_encoder', spatial_layers=3, temporal_layers=1
  ),
  'ViViT, Model 3': base.model(
    'factorised_self_attention', layers=2, **_sized(104)
  ),
  'ViViT, Model 4': base.model(
    'factorised_dot_product', layers=3, **_sized(100)
  ),
  'TimeSformer': _own('timesformer', layers=2, **_HEADS, **_sized(72)),
  'VTN': _own('vtn', head_mlp=84, **_HEADS, **_TEMPORAL, **_sized(84)),
  'STAM': _own('stam', **_HEADS, **_TEMPORAL, **_sized(84)),
  'MViTv2': _own('mvit', layers=4, stages=(1, 2), width=36, attention_heads=1),
  'Video Swin': _own(
    'video_swin', depths=(1, 1), width=56, attention_heads=(2, 4),
    window=(4, 4, 4), tubelet=(2, 4, 4),
  ),
}  # fmt: skip
ROWS = {label: row | {'init_from': None} for label, row in ROWS.items()}
ROWS['probe'] = base.model('joint', layers=3, tubelet=(1, 8, 8)) | {
  'data.frames': 4,
  'data.stride': 4,
  'model.pool': 'attention',
  'optim.train': '^(output_projection|MAPHead_0)/',
}
BETTER = [('ViViT, Model 1', label) for label in list(ROWS)[1:]]
VERDICTS = ('the first is better', 'the second is better')


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.train.epochs = 4.0
  return config


def sweep() -> list[dict]:
  return base.runs(ROWS)
