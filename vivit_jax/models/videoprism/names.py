"""Names of VideoPrism's arrays, the authors' and transformers'.

Rows are those of `torch_names`; the authors' kernel of the patches is reshaped
first, and their stacked layers are split ('#' is a layer's number).
"""

from vivit_jax.models import attention_pools, classifier, image_vit, torch_names

KERNEL = 'patch_projection/linear/kernel'
STACK = 'transformers_stack/x_layers'
ENCODERS = {
  'spatial': 'SpatialTransformer',
  'temporal': 'TemporalTransformer',
  'auxiliary': 'AuxiliaryTransformer',
}
ATTENTION = attention_pools.ATTENTION
POOL = attention_pools.NAME
_QKV = ('query', 'key', 'value')


def _attention(theirs: str, ours: str) -> list[torch_names.Row]:
  """Returns the rows of an attention layer of the authors."""
  rows = [
    (f'{theirs}/post/w', f'{ours}/out/kernel', 'D h d', 'h d D'),
    (f'{theirs}/post/b', f'{ours}/out/bias', 'D', 'D'),
  ]
  for name in _QKV:
    rows += [
      (f'{theirs}/{name}/w', f'{ours}/{name}/kernel', 'D h d', 'D h d'),
      (f'{theirs}/{name}/b', f'{ours}/{name}/bias', 'h d', 'h d'),
    ]
  return rows


def _equal(theirs: str, ours: str, *parts: str) -> list[torch_names.Row]:
  return [(f'{theirs}/{x}', f'{ours}/{x}', '...', '...') for x in parts]


def _official() -> list[torch_names.Row]:
  """Returns the rows of the authors' names, without prefixes."""
  dense, norm = ('kernel', 'bias'), ('scale', 'bias')
  pool = 'pooler/pooling_attention'
  scale = 'per_dim_scale'
  rows = [
    *_equal('patch_projection/linear', 'embedding', *dense),
    *_equal('projection/linear', classifier.HEAD, *dense),
    *_equal(f'{pool}_layer_norm', f'{POOL}/LayerNorm_0', *norm),
    *_equal(f'{pool}/{scale}', POOL, scale),
    *_attention(pool, f'{POOL}/{ATTENTION}'),
    (f'{pool}_query', f'{POOL}/probe', 'n D', '1 n D'),
  ]
  for theirs, ours in ENCODERS.items():
    positions = f'{ours}/{image_vit.POSITIONS}'
    rows.append((f'{theirs}_pos_emb/emb_var', positions, 'n D', '1 n D'))
    rows += _equal(f'{theirs}_ln', f'{ours}/encoder_norm', *norm)
    layer, block = f'{theirs}_encoder/{STACK}_#', f'{ours}/encoderblock_#'
    rows += _attention(f'{layer}/self_attention', f'{block}/{ATTENTION}')
    rows += _equal(f'{layer}/layer_norm', f'{block}/LayerNorm_0', *norm)
    layer = f'{layer}/ff_layer'
    rows += _equal(f'{layer}/layer_norm', f'{block}/LayerNorm_1', *norm)
    for number in (1, 2):
      linear = f'{layer}/ffn_layer{number}/linear'
      rows += _equal(linear, f'{block}/MlpBlock_0/Dense_{number - 1}', *dense)
  return rows


def _transformers() -> list[torch_names.Row]:
  """Returns the rows of transformers' names, without prefixes."""
  modules = [
    ('spatial_embeddings.patch_embeddings.projection', 'embedding', 'patches'),
    ('layernorm1', 'SpatialTransformer/encoder_norm', 'norm'),
    ('layernorm2', 'TemporalTransformer/encoder_norm', 'norm'),
    ('head_layernorm', f'{POOL}/LayerNorm_0', 'norm'),
    ('classifier', classifier.HEAD, 'dense'),
  ]
  attentions = {'head': f'{POOL}/{ATTENTION}'}
  for theirs, ours in ENCODERS.items():
    layer, block = f'{theirs}_layers.#', f'{ours}/encoderblock_#'
    attentions[f'{layer}.attention'] = f'{block}/{ATTENTION}'
    modules += [
      (f'{layer}.layernorm_before', f'{block}/LayerNorm_0', 'norm'),
      (f'{layer}.layernorm_after', f'{block}/LayerNorm_1', 'norm'),
      (f'{layer}.mlp.fc1', f'{block}/MlpBlock_0/Dense_0', 'dense'),
      (f'{layer}.mlp.fc2', f'{block}/MlpBlock_0/Dense_1', 'dense'),
    ]
  for theirs, ours in attentions.items():
    modules.append((f'{theirs}.o_proj', f'{ours}/out', 'merge'))
    for name in _QKV:
      modules.append((f'{theirs}.{name[0]}_proj', f'{ours}/{name}', 'split'))
  arrays = [
    ('head.per_dim_scale', f'{POOL}/per_dim_scale'),
    ('head.pooling_attention_query', f'{POOL}/probe'),
  ] + [
    (
      f'{theirs}_embeddings.position_embeddings',
      f'{ENCODERS[theirs]}/{image_vit.POSITIONS}',
    )
    for theirs in ('spatial', 'temporal')
  ]
  return torch_names.rows(modules, arrays)


OFFICIAL, TRANSFORMERS = _official(), _transformers()
