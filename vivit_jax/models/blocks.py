"""The transformer encoder that every model here is made of (paper, eq. 2-4).

Pre-norm blocks of multi-head self-attention and an MLP. Parameter names are
those of the reference implementation, so that its weights load as they are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models.attention import attend
from vivit_jax.models.positions import AddPositions
from vivit_jax.models.products import matrix_product

# Values of the config key model.remat: what the backward pass keeps in memory
# instead of recomputing it.
REMAT_POLICIES = {
  'none': None,  # everything is kept
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'full': jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True)
class Options:
  """Settings that all blocks of a model share.

  Attributes:
    attention_heads: of each attention.
    mlp: hidden width of the MLP.
    stochastic_depth: rate at the last block of an encoder, 0 for none.
    depth_rates: 'paper', block l of L has l / L of the rate; or 'reference',
      (l - 1) / (L - 1), so that the first block is never dropped.
    scan: one traced block for all layers (`nn.scan`), so that compiling does
      not take longer for deeper models; see `stacking` for its parameters.
    remat: a key of `REMAT_POLICIES`.
    attention: one of `attention.ATTENTIONS`.
    gelu: 'tanh', its approximation, or 'exact' (erf).
    epsilon: of the layer norms.
    dtype: of the computation; parameters are float32.
  """

  attention_heads: int
  mlp: int
  stochastic_depth: float = 0.0
  depth_rates: str = 'paper'
  scan: bool = False
  remat: str = 'none'
  attention: str = 'auto'
  gelu: str = 'tanh'
  epsilon: float = 1e-6
  dtype: jnp.dtype = jnp.float32


@dataclasses.dataclass(frozen=True)
class Mode:
  """How a forward pass runs.

  Attributes:
    train: whether stochastic depth draws, from the rng `stochastic_depth`.
    example_B: int [B], each clip's place in the global batch; needed where
      stochastic depth draws. All frames of a clip share a draw.
    frozen: modules of which no parameter is trained, by their names
      ('Transformer/encoderblock_3'); there stochastic depth is off.
  """

  train: bool = False
  example_B: jax.Array | None = None
  frozen: Collection[str] = frozenset()

  def repeated(self, times: int) -> Mode:
    """Returns the mode of a batch in which each example comes so many times."""
    if self.example_B is None:
      return self
    return dataclasses.replace(
      self, example_B=jnp.repeat(self.example_B, times)
    )


def depth_rates(options: Options, layers: int) -> list[float]:
  """Returns the rate of stochastic depth of each block (paper, section 4.1)."""
  if options.depth_rates == 'paper':
    shares = [(layer + 1) / layers for layer in range(layers)]
  else:
    shares = [layer / max(layers - 1, 1) for layer in range(layers)]
  return [options.stochastic_depth * share for share in shares]


def stochastic_depth(
  key: jax.Array, rates_L: jax.Array, branches: int, example_B: jax.Array
) -> jax.Array:
  """Draws which residual branches of which examples are dropped.

  Each example keeps a branch with probability 1 - rate, and a kept branch is
  divided by that, so that the expectation is the branch itself (Huang et al.,
  arXiv 1603.09382; the reference implementation leaves the division out). A
  draw depends on key, layer, branch and the example's place in the global
  batch, never on the device.

  Returns:
    float32 [L, branches, B], what each branch is multiplied with.
  """

  def draw(index, rate, place):
    uniform = jax.random.uniform(
      jax.random.fold_in(jax.random.fold_in(key, index), place)
    )
    return (uniform >= rate) / (1.0 - rate)

  index_LxR = jnp.arange(rates_L.size * branches).reshape(-1, branches)
  over_B = jax.vmap(draw, (None, None, 0))
  over_R = jax.vmap(over_B, (0, None, None))
  return jax.vmap(over_R, (0, 0, None))(index_LxR, rates_L, example_B)


def add_branch(
  x_BxNxD: jax.Array, y_BxNxD: jax.Array, scale_B: jax.Array | None
) -> jax.Array:
  """Returns x + scale * y; without a scale, x + y."""
  if scale_B is None:
    return x_BxNxD + y_BxNxD
  return x_BxNxD + y_BxNxD * scale_B[:, None, None].astype(y_BxNxD.dtype)


def layer_norm(options: Options, name: str | None = None) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=options.epsilon, dtype=options.dtype, name=name)


def attention(
  options: Options, name: str | None = None, **initializers
) -> nn.MultiHeadDotProductAttention:
  """Returns multi-head self-attention; called as `attention(...)(x, x)`."""
  initializers = {
    'kernel_init': nn.initializers.xavier_uniform()
  } | initializers
  return nn.MultiHeadDotProductAttention(
    num_heads=options.attention_heads,
    dtype=options.dtype,
    deterministic=True,
    attention_fn=functools.partial(attend, kind=options.attention),
    qkv_dot_general=matrix_product,
    out_dot_general=matrix_product,
    name=name,
    **initializers,
  )


class MlpBlock(nn.Module):
  """Two dense layers with a GELU between: [B, N, D] -> [B, N, D]."""

  options: Options

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    inits = dict(
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=nn.initializers.normal(1e-6),
      dtype=self.options.dtype,
      dot_general=matrix_product,
    )
    x = nn.Dense(self.options.mlp, **inits)(x_BxNxD)
    x = nn.gelu(x, approximate=self.options.gelu == 'tanh')
    return nn.Dense(x_BxNxD.shape[-1], **inits)(x)


class EncoderBlock(nn.Module):
  """Attention, then an MLP, each normed before and added to its input."""

  options: Options
  grid: tuple[int, int, int]  # t, h and w of the tokens; here all see all

  BRANCHES = 2

  def attend(self, x_BxNxD: jax.Array) -> jax.Array:
    """Returns the attention branch [B, N, D]; a kind of block has its own."""
    return attention(self.options)(x_BxNxD, x_BxNxD)

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, scale_RxB: jax.Array | None
  ) -> jax.Array:
    """Returns [B, N, D]; `scale_RxB` is a layer of `stochastic_depth`'s."""
    attended, mixed = (None, None) if scale_RxB is None else scale_RxB
    y = self.attend(layer_norm(self.options)(x_BxNxD))
    x = add_branch(x_BxNxD, y, attended)
    y = layer_norm(self.options)(x)
    y = MlpBlock(self.options)(y)
    return add_branch(x, y, mixed)


class Encoder(nn.Module):
  """Positions, `layers` blocks, and a final norm: [B, N, D] -> [B, N, D].

  Attributes:
    layers: L; two encoders in a row each count their own blocks.
    options: of the blocks.
    grid: the tokens' t, h and w; N is their product, or one more with a class
      token before the others.
    positions: a key of `positions.POSITIONS`.
    block: the module class of a block, made from options and grid. Further
      arguments come by `functools.partial`.
    branches: residual branches of a block.
  """

  layers: int
  options: Options
  grid: tuple[int, int, int]
  positions: str = 'learned'
  block: type[nn.Module] = EncoderBlock
  branches: int = EncoderBlock.BRANCHES

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array, mode: Mode) -> jax.Array:
    """Encodes tokens [B, N, D]; see `Mode`."""
    x = AddPositions(self.positions, self.grid, name='posembed_input')(x_BxNxD)
    x = self._blocks(x, self._branch_scales(mode))
    return layer_norm(self.options, name='encoder_norm')(x)

  def _branch_scales(self, mode: Mode) -> jax.Array | None:
    """Draws stochastic depth, [L, branches, B]; None where nothing drops."""
    if not mode.train:
      return None
    names = [
      '/'.join((*self.path, f'encoderblock_{layer}'))
      for layer in range(self.layers)
    ]
    rates = [
      0.0 if name in mode.frozen else rate
      for name, rate in zip(names, depth_rates(self.options, self.layers))
    ]
    if not any(rates):
      return None
    key = self.make_rng('stochastic_depth')
    rates_L = jnp.asarray(rates)
    return stochastic_depth(key, rates_L, self.branches, mode.example_B)

  def _blocks(
    self, x_BxNxD: jax.Array, scale_LxRxB: jax.Array | None
  ) -> jax.Array:
    def step(block, x, scale):
      return block(x, scale)

    if self.options.remat != 'none':
      step = nn.remat(
        step,
        policy=REMAT_POLICIES[self.options.remat],
        prevent_cse=not self.options.scan,
      )
    if self.options.scan:
      scanned = nn.scan(
        lambda block, x, scale: (step(block, x, scale), None),
        variable_axes={'params': 0},
        split_rngs={'params': True},
        length=self.layers,
        check_constancy_invariants=False,  # which traces a block once more
      )
      block = self.block(self.options, self.grid, name='encoderblock')
      return scanned(block, x_BxNxD, scale_LxRxB)[0]
    x = x_BxNxD
    for layer in range(self.layers):
      block = self.block(self.options, self.grid, name=f'encoderblock_{layer}')
      x = step(block, x, None if scale_LxRxB is None else scale_LxRxB[layer])
    return x
