"""The transformer encoder of ViT and ViViT (ViViT paper, eq. 2-4).

Parameters have the reference implementation's names, so its weights load
unchanged.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import sizes
from vivit_jax.models.attention import attend
from vivit_jax.models.family import BUILD_KEYS, ModelConfig
from vivit_jax.models.positions import AddPositions

# Value of model.remat -> activations kept in memory for the backward pass. The
# others are recomputed.
REMAT_POLICIES = {
  'none': None,  # keep all
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'full': jax.checkpoint_policies.nothing_saveable,
  'stages': None,  # the network recomputes whole stages, not blocks
}


@dataclasses.dataclass(frozen=True)
class Options:
  """Settings shared by all blocks of a model.

  Attributes:
    attention_heads: number in each attention layer.
    mlp: hidden width of the MLP.
    stochastic_depth: drop rate of an encoder's last block; 0: none.
    depth_rates: drop rate of block l of L, relative to the last block. 'paper':
      l / L; 'reference': (l - 1) / (L - 1), which never drops the first block.
    scan: trace one block for all layers (`nn.scan`), so that deep models
      compile as fast as shallow ones. Parameters are stacked (`stacking`).
    remat: a key of `REMAT_POLICIES`.
    attention: one of `attention.ATTENTIONS`.
    gelu: 'tanh' (its approximation) or 'exact' (erf).
    epsilon: epsilon of the layer norms.
    dtype: dtype of the computation; parameters are float32.
    linear_init: initialiser of the linear layers. 'xavier': Xavier-uniform, and
      biases in the MLP with standard deviation 1e-6; 'normal': standard
      deviation 0.02, biases 0; 'lecun': LeCun-normal, biases 0.
    cap: soft cap of attention scores; see `attention.attend`.
    residual_init: factor of the initial kernel of a residual branch's last
      layer.
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
  linear_init: str = 'xavier'
  cap: float | None = None
  residual_init: float = 1.0


# Value of `Options.linear_init` -> initialisers of kernels, and of the MLP's
# biases.
LINEAR_INITS = {
  'xavier': (nn.initializers.xavier_uniform(), nn.initializers.normal(1e-6)),
  'normal': (nn.initializers.normal(0.02), nn.initializers.zeros),
  'lecun': (nn.initializers.lecun_normal(), nn.initializers.zeros),
}


def _residual_init(options: Options) -> nn.initializers.Initializer:
  """Returns the initialiser of the last kernel of a residual branch."""
  init = LINEAR_INITS[options.linear_init][0]
  return lambda *arguments: options.residual_init * init(*arguments)


def options_of(config: ModelConfig, **own: Any) -> Options:
  """Returns block settings: the config's `BUILD_KEYS`, and the family's own."""
  keys = {key: getattr(config, key) for key in BUILD_KEYS}
  return Options(**keys | {'dtype': jnp.dtype(config.dtype)} | own)


def vit_options(config: ModelConfig, **own: Any) -> Options:
  """Returns block settings of a family whose options are `sizes.Options`."""
  size, options = sizes.of(config), config.options
  given = {
    'attention_heads': size.attention_heads,
    'mlp': size.mlp,
    'gelu': options.gelu,
    'epsilon': options.norm_epsilon,
    'linear_init': 'normal',
  }
  return options_of(config, **given | own)


@dataclasses.dataclass(frozen=True)
class Mode:
  """How a forward pass runs.

  Attributes:
    train: whether stochastic depth and dropout are on; they use the rngs
      `stochastic_depth` and `dropout`.
    example_B: int [B], each clip's index in the global batch; required if
      `train`. All frames of a clip share a draw of stochastic depth.
    frozen: names of frozen modules ('Transformer/encoderblock_3'), without
      stochastic depth and dropout.
    frame_BxT: int [B, T], index of each frame in its video, from 0; None: 0 to
      T - 1. Given to families with `Family.reads_frame_numbers`.
  """

  train: bool = False
  example_B: jax.Array | None = None
  frozen: Collection[str] = frozenset()
  frame_BxT: jax.Array | None = None

  def repeated(self, times: int) -> Mode:
    """Returns the mode for a batch with each example `times` times in a row."""
    if self.example_B is None:
      return self
    return dataclasses.replace(
      self, example_B=jnp.repeat(self.example_B, times)
    )


def depth_rates(options: Options, layers: int) -> list[float]:
  """Returns the stochastic depth rate of each block (paper, section 4.1)."""
  if options.depth_rates == 'paper':
    shares = [(layer + 1) / layers for layer in range(layers)]
  else:
    shares = [layer / max(layers - 1, 1) for layer in range(layers)]
  return [options.stochastic_depth * share for share in shares]


def rates_in(
  mode: Mode, module: nn.Module, names: Sequence[str], options: Options
) -> jax.Array | None:
  """Returns the drop rate of each block, float32 [L]; None if all are zero.

  Args:
    mode: the forward pass; rates are zero in evaluation, and of frozen blocks.
    module: the parent of the blocks.
    names: the blocks' names in `module`, in order.
    options: block settings.
  """
  rates = [
    0.0 if '/'.join((*module.path, name)) in mode.frozen else rate
    for name, rate in zip(names, depth_rates(options, len(names)))
  ]
  return jnp.asarray(rates) if mode.train and any(rates) else None


def branch_scales(
  mode: Mode, module: nn.Module, names: Sequence[str], options: Options
) -> jax.Array | None:
  """Draws `stochastic_depth` of two branches, [L, 2, B]; None if all are kept.

  Arguments: see `rates_in`.
  """
  rates_L = rates_in(mode, module, names, options)
  if rates_L is None:
    return None
  key = module.make_rng('stochastic_depth')
  return stochastic_depth(key, rates_L, 2, mode.example_B)


def step_of(options: Options) -> Callable[..., Any]:
  """Returns a function (block, x, scale) -> output, as model.remat asks."""

  def step(block, x, scale):
    return block(x, scale)

  policy = REMAT_POLICIES[options.remat]
  if policy is None:
    return step
  return nn.remat(step, policy=policy, prevent_cse=not options.scan)


def stochastic_depth(
  key: jax.Array,
  rates_L: jax.Array,
  branches: int,
  example_B: jax.Array,
  rows: tuple[int, ...] = (),
) -> jax.Array:
  """Draws a factor for each residual branch and example: 0 or 1 / (1 - rate).

  An example keeps a branch with probability 1 - rate. Dividing a kept branch by
  1 - rate leaves the expectation unchanged (Huang et al., arXiv 1603.09382; the
  reference implementation omits the division). A draw depends on key, layer,
  branch and the example's index in the global batch, never on the device.

  Args:
    key: differs between steps and encoders.
    rates_L: drop rate of each block.
    branches: residual branches per block.
    example_B: int [B], indices in the global batch.
    rows: shape of an example's draws, such as one for each frame.

  Returns:
    float32 [L, branches, B, *rows].
  """

  def draw(index, rate, example):
    uniform = jax.random.uniform(
      jax.random.fold_in(jax.random.fold_in(key, index), example), rows
    )
    return (uniform >= rate) / (1.0 - rate)

  index_LxR = jnp.arange(rates_L.size * branches).reshape(-1, branches)
  over_B = jax.vmap(draw, (None, None, 0))
  over_R = jax.vmap(over_B, (0, None, None))
  return jax.vmap(over_R, (0, 0, None))(index_LxR, rates_L, example_B)


def dropout(
  x_Bx: jax.Array, rate: float, key: jax.Array, example_B: jax.Array
) -> jax.Array:
  """Sets entries of [B, ...] to 0, and divides the others by 1 - rate.

  As with `stochastic_depth`, a draw never depends on the device. `key` must
  differ between the calls of a network (`Module.make_rng`).
  """

  def keep(example):
    drawn = jax.random.fold_in(key, example)
    return jax.random.bernoulli(drawn, 1.0 - rate, x_Bx.shape[1:])

  return jnp.where(jax.vmap(keep)(example_B), x_Bx / (1.0 - rate), 0)


def add_branch(
  x_Bx: jax.Array, y_Bx: jax.Array, scale_B: jax.Array | None
) -> jax.Array:
  """Returns the residual sum x + scale * y; x + y if scale is None.

  `scale_B` has the first axes of x and y, [B] or more.
  """
  return x_Bx + scaled(y_Bx, scale_B)


def scaled(y_Bx: jax.Array, scale_B: jax.Array | None) -> jax.Array:
  """Returns scale * y, whose first axes are those of scale; y if it is None."""
  if scale_B is None:
    return y_Bx
  axes = range(scale_B.ndim, y_Bx.ndim)
  return y_Bx * jnp.expand_dims(scale_B, axes).astype(y_Bx.dtype)


def layer_norm(options: Options, name: str | None = None) -> nn.LayerNorm:
  """Returns a layer norm with the epsilon and dtype of the options."""
  return nn.LayerNorm(epsilon=options.epsilon, dtype=options.dtype, name=name)


def attention(
  options: Options, name: str | None = None, **more: Any
) -> nn.MultiHeadDotProductAttention:
  """Returns multi-head attention; self-attention is `attention(...)(x, x)`.

  `more` replaces arguments of the module, such as `attention_fn`. A
  `kernel_init` also initialises the output, unless `out_kernel_init` is given.
  """
  arguments = {
    'num_heads': options.attention_heads,
    'dtype': options.dtype,
    'deterministic': True,
    'kernel_init': LINEAR_INITS[options.linear_init][0],
    'out_kernel_init': more.get('kernel_init', _residual_init(options)),
    'attention_fn': functools.partial(
      attend, kind=options.attention, cap=options.cap
    ),
    'name': name,
  }
  return nn.MultiHeadDotProductAttention(**arguments | more)


def gelu(x: jax.Array, kind: str) -> jax.Array:
  """Returns GELU, 'tanh' (its approximation) or 'exact' (erf).

  As in torch, the exact one is x (1 + erf(x / sqrt(2))) / 2 in float32.
  `jax.nn.gelu` uses erfc, which takes up to twice as long on a CPU.
  """
  if kind == 'tanh':
    return nn.gelu(x, approximate=True)
  wide = x.astype(jnp.float32)
  return (0.5 * wide * (1 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


class MlpBlock(nn.Module):
  """Dense, GELU, dense: [B, N, D] -> [B, N, D]."""

  options: Options

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    kernel_init, bias_init = LINEAR_INITS[self.options.linear_init]
    dense = functools.partial(
      nn.Dense,
      kernel_init=kernel_init,
      bias_init=bias_init,
      dtype=self.options.dtype,
    )
    x = dense(self.options.mlp)(x_BxNxD)
    x = gelu(x, self.options.gelu)
    init = _residual_init(self.options)
    return dense(x_BxNxD.shape[-1], kernel_init=init)(x)


def split_first(x: jax.Array, first: int) -> list[jax.Array]:
  """Splits tokens [..., N, D] into the first ones, if any, and the others."""
  return jnp.split(x, [first], axis=-2) if first else [x]


def tokens_and_summary(
  parts: Sequence[jax.Array],
) -> tuple[jax.Array, jax.Array | None]:
  """Returns an encoder's tokens [B, N, D] and class token: [B, D], or None."""
  *first, tokens = parts
  return tokens, first[0].squeeze(axis=1) if first else None


class EncoderBlock(nn.Module):
  """Pre-norm self-attention and MLP, each with a residual connection.

  Attributes:
    options: block settings.
    grid: (t, h, w) of the tokens, for subclasses.
    first: number of leading tokens whose MLP is computed separately. If nothing
      reads the other tokens, the compiler removes their MLP.
  """

  options: Options
  grid: tuple[int, int, int]
  first: int = 0

  BRANCHES = 2

  def attend(self, x_BxNxD: jax.Array) -> jax.Array:
    """Returns the attention branch [B, N, D]; subclasses override it."""
    return attention(self.options)(x_BxNxD, x_BxNxD)

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, scale_RxB: jax.Array | None
  ) -> jax.Array | list[jax.Array]:
    """Returns [B, N, D]; with `first`, its `split_first`.

    `scale_RxB` is one layer's `stochastic_depth`.
    """
    attention_B, mlp_B = (None, None) if scale_RxB is None else scale_RxB
    y = self.attend(layer_norm(self.options)(x_BxNxD))
    x = add_branch(x_BxNxD, y, attention_B)
    norm, mlp = layer_norm(self.options), MlpBlock(self.options)
    parts = [
      add_branch(x, mlp(norm(x)), mlp_B) for x in split_first(x, self.first)
    ]
    return parts if self.first else parts[0]


class Encoder(nn.Module):
  """Positions, blocks and a norm of the tokens: [B, N, D] -> [B, N, D].

  Attributes:
    layers: L, the number of blocks.
    options: block settings.
    grid: token grid; N is t h w, plus 1 for a class token at the start.
    positions: one of `positions.POSITIONS`.
    table: see `positions.AddPositions`.
    block: block class, called with options, grid and name; bind further
      arguments with `functools.partial`.
    branches: residual branches per block.
    first: number of class tokens, which lead; if not 0, it is passed to the
      last block, whose class must have this attribute.
    rows: for each branch, the shape of a clip's draws of stochastic depth;
      None: one draw. If set, the block gets a tuple of [B, *shape].
    final_norm: whether a norm follows the last block.
    outputs: indices of blocks, from 0, whose normalised outputs are returned,
      in this order; empty: the last block. Only without `first` and scan.
  """

  layers: int
  options: Options
  grid: tuple[int, int, int]
  positions: str = 'learned'
  table: tuple[int, int, int] | None = None
  block: type[nn.Module] = EncoderBlock
  branches: int = EncoderBlock.BRANCHES
  first: int = 0
  rows: tuple[tuple[int, ...], ...] | None = None
  final_norm: bool = True
  outputs: tuple[int, ...] = ()

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array, mode: Mode) -> list[jax.Array]:
    """Returns `split_first` of the encoded tokens [B, N, D]; see `Mode`.

    With `outputs`, the tokens of these blocks.
    """
    x = AddPositions(
      self.positions, self.grid, self.table, name='posembed_input'
    )(x_BxNxD)
    parts = self._blocks(x, self._branch_scales(mode))
    if not self.final_norm:
      return parts
    norm = layer_norm(self.options, name='encoder_norm')
    return [norm(part) for part in parts]

  def _branch_scales(
    self, mode: Mode
  ) -> jax.Array | tuple[jax.Array, ...] | None:
    """Draws stochastic depth [L, branches, B]; None if all rates are zero.

    With `rows`, a tuple of arrays [L, B, *shape].
    """
    names = [f'encoderblock_{layer}' for layer in range(self.layers)]
    rates_L = rates_in(mode, self, names, self.options)
    if rates_L is None:
      return None
    key = self.make_rng('stochastic_depth')
    if self.rows is None:
      return stochastic_depth(key, rates_L, self.branches, mode.example_B)
    return tuple(
      stochastic_depth(
        jax.random.fold_in(key, branch), rates_L, 1, mode.example_B, rows
      )[:, 0]
      for branch, rows in enumerate(self.rows)
    )

  def _blocks(
    self,
    x_BxNxD: jax.Array,
    scale_LxRxB: jax.Array | tuple[jax.Array, ...] | None,
  ) -> list[jax.Array]:
    """Returns `split_first` of the last block's output, or `outputs`."""
    step = step_of(self.options)
    if self.options.scan:
      scanned = nn.scan(
        lambda block, x, scale: (step(block, x, scale), None),
        variable_axes={'params': 0},
        split_rngs={'params': True},
        length=self.layers,
        check_constancy_invariants=False,  # would trace the block again
      )
      block = self.block(self.options, self.grid, name='encoderblock')
      return split_first(scanned(block, x_BxNxD, scale_LxRxB)[0], self.first)
    x, after = x_BxNxD, []
    for layer in range(self.layers):
      name, is_last = f'encoderblock_{layer}', layer == self.layers - 1
      apart = {'first': self.first} if is_last and self.first else {}
      block = self.block(self.options, self.grid, name=name, **apart)
      x = step(block, x, jax.tree.map(lambda x, i=layer: x[i], scale_LxRxB))
      after.append(x)
    if self.outputs:
      return [after[layer] for layer in self.outputs]
    return x if self.first else [x]
