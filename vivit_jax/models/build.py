"""The table of sizes, and a model from explicit arguments."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from vivit_jax.errors import UserError, nearest
from vivit_jax.models import attention as attentions
from vivit_jax.models import base, embeddings, layers
from vivit_jax.models import factorised_self_attention as fsa
from vivit_jax.models.factorised_dot_product import FactorisedDotProduct
from vivit_jax.models.factorised_encoder import FactorisedEncoder
from vivit_jax.models.joint import Joint
from vivit_jax.models.positions import POSITIONS


@dataclasses.dataclass(frozen=True)
class Size:
  """Of a transformer: blocks, attention heads, D, the MLP's hidden width."""

  layers: int
  attention_heads: int
  width: int
  mlp: int


# B, L and H: paper, section 4.1. Ti and S: the ViT family (arXiv 2012.12877).
SIZES = {
  'Ti': Size(12, 3, 192, 768),
  'S': Size(12, 6, 384, 1536),
  'B': Size(12, 12, 768, 3072),
  'L': Size(24, 16, 1024, 4096),
  'H': Size(32, 16, 1280, 5120),
}

# The paper's Models 1 to 4.
FAMILIES = {
  'joint': Joint,
  'factorised_encoder': FactorisedEncoder,
  'factorised_self_attention': fsa.FactorisedSelfAttention,
  'factorised_dot_product': FactorisedDotProduct,
}
_WITHOUT_TOKEN = ('factorised_self_attention', 'factorised_dot_product')
ORDERS = ('space_time', 'time_space')


def build(
  *,
  family: str,
  size: str,
  heads: Mapping[str, int],
  tubelet: tuple[int, int, int],
  embedding: str = 'tubelet',
  spatial_layers: int | None = None,
  temporal_layers: int = 4,
  order: str = 'space_time',
  temporal_init: str = 'zero_output',
  kernel_init: str = 'central_frame',
  positions: str = 'learned',
  classifier: str | None = None,
  representation: int | None = None,
  stochastic_depth: float = 0.0,
  depth_rates: str = 'paper',
  scan: bool = False,
  remat: str = 'none',
  attention: str = 'auto',
  dtype: str = 'float32',
) -> base.VideoTransformer:
  """Returns the Flax module of a model.

  Args:
    family: a key of `FAMILIES`.
    size: a key of `SIZES`.
    heads: name of each head -> number of classes.
    tubelet: frames, height and width of a tubelet, in pixels.
    embedding: 'tubelet', or 'uniform_frames': patches of one frame in each
      tubelet's stead.
    spatial_layers: blocks of the (spatial) encoder; None for the size's own.
    temporal_layers: of the factorised encoder, L_t; 0 averages over time.
    order: of the factorised attentions: which one, or which half of the heads,
      is first. 'time_space' for the reference's weights.
    temporal_init: of factorised self-attention: 'zero_output', 'zero_all' or
      'random'.
    kernel_init: 'central_frame' or 'random'.
    positions: 'learned', 'sinusoidal_1d', 'sinusoidal_3d' or 'none'.
    classifier: 'token' or 'average'; None for the family's own.
    representation: width of a tanh layer before the head; None for no layer.
    stochastic_depth: rate at the last block, 0 for none.
    depth_rates: 'paper', l / L, or 'reference', (l - 1) / (L - 1).
    scan: whether blocks are stacked, so that compiling takes no longer for
      more of them.
    remat: what the backward pass computes again: 'none', 'dots', all but the
      matrix products, or 'full'.
    attention: how it is computed, one of `attention.ATTENTIONS`; 'auto' for
      what suits device, precision and length (`attention.attend`).
    dtype: 'float32' or 'bfloat16', of the computation.

  Raises:
    UserError: a name that is not known, or a choice that the family lacks.
  """
  for key, value, known in (
    ('family', family, FAMILIES),
    ('size', size, SIZES),
    ('embedding', embedding, embeddings.EMBEDDINGS),
    ('order', order, ORDERS),
    ('temporal_init', temporal_init, fsa.TEMPORAL_INITS),
    ('kernel_init', kernel_init, embeddings.KERNEL_INITS),
    ('positions', positions, POSITIONS),
    ('classifier', classifier, (None, 'token', 'average')),
    ('depth_rates', depth_rates, ('paper', 'reference')),
    ('remat', remat, layers.REMAT_POLICIES),
    ('attention', attention, attentions.ATTENTIONS),
    ('dtype', dtype, ('float32', 'bfloat16')),
  ):
    _one_of(key, value, known)
  if family in _WITHOUT_TOKEN and classifier == 'token':
    raise UserError(
      f"model.classifier is 'token', but {family} has no class token: without "
      'temporal index and place, attention along one axis could not reach it. '
      "Take 'average'."
    )
  table = SIZES[size]
  if family == 'factorised_dot_product' and table.attention_heads % 2:
    raise UserError(
      f"model.size is '{size}', whose {table.attention_heads} attention heads "
      f'{family} cannot halve between space and time: take another size.'
    )
  own = {
    'factorised_encoder': {'temporal_layers': temporal_layers},
    'factorised_self_attention': {
      'order': order,
      'temporal_init': temporal_init,
    },
    'factorised_dot_product': {'order': order},
  }
  return FAMILIES[family](
    heads=dict(heads),
    width=table.width,
    depth=table.layers if spatial_layers is None else spatial_layers,
    options=layers.Options(
      attention_heads=table.attention_heads,
      mlp=table.mlp,
      stochastic_depth=stochastic_depth,
      depth_rates=depth_rates,
      scan=scan,
      remat=remat,
      attention=attention,
      dtype=jnp.dtype(dtype),
    ),
    tubelet=tuple(tubelet),
    embedding=embedding,
    kernel_init=kernel_init,
    positions=positions,
    classifier=classifier
    or ('average' if family in _WITHOUT_TOKEN else 'token'),
    representation=representation,
    **own.get(family, {}),
  )


def _one_of(key: str, value: str | None, known) -> None:
  if value not in known:
    names = [str(name) for name in known]
    raise UserError(
      f"model.{key} is '{value}'; known are {', '.join(names)}."
      f'{nearest(str(value), names)}'
    )
