"""What all formats are read into."""

import dataclasses
import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

_BLOCK = re.compile(r'(\w*Transformer)/encoderblock_(\d+)/')


@dataclasses.dataclass(frozen=True)
class Weights:
  """A checkpoint's parameters, in this package's names (the reference's).

  Attributes:
    format: what the file is, for people.
    arrays: 'Transformer/encoderblock_0/LayerNorm_0/scale' -> array; layers one
      by one. An image model has Model 1's names and a kernel [p, q, C, D].
    label_names: of each head, where the format tells.
    grid: t, h and w of its tokens, where the format tells.
    notes: what a user should know of the import.
    model: key of `models.FAMILIES`, where the format tells.
    order: of factorised attentions, where the format tells.
    step: of the training, where the format tells.
    averaged: these are the moving average of the training's weights.
  """

  format: str
  arrays: Mapping[str, np.ndarray]
  label_names: Mapping[str, list[str]] | None = None
  grid: tuple[int, int, int] | None = None
  notes: tuple[str, ...] = ()
  model: str | None = None
  order: str | None = None
  step: int | None = None
  averaged: bool = False

  @property
  def is_image(self) -> bool:
    return self.arrays['embedding/kernel'].ndim == 4

  @property
  def family(self) -> str:
    """Returns 'image ViT', or a key of `models.FAMILIES`, or two with or."""
    names = list(self.arrays)
    if self.is_image:
      return 'image ViT'
    if self.model is not None:
      return self.model
    if any(name.startswith('SpatialTransformer/') for name in names):
      return 'factorised_encoder'
    if any('LayerNorm_time/' in name for name in names):
      return 'factorised_self_attention'
    # Model 4 has Model 1's names, but never a class token.
    return 'joint' if 'cls' in names else 'joint or factorised_dot_product'

  def fault(self) -> str | None:
    """Returns what makes these arrays no transformer's, or None."""
    for name, array in self.arrays.items():
      if not jnp.issubdtype(array.dtype, jnp.floating) or not array.size:
        return f'{name} is {array.dtype} of shape {array.shape}, not floats'
    kernel = self.arrays.get('embedding/kernel')
    if kernel is None:
      return 'it has no embedding/kernel'
    if not any(name.endswith('/query/kernel') for name in self.arrays):
      return 'it has no attention'
    for pattern, axes, wanted in (
      (r'embedding/kernel', 'tubelet, colours, width', (4, 5)),
      (r'.*/posembed_input/pos_embedding', '1, positions, width', (3,)),
      (r'.*/(query|key|value)/kernel', 'width, heads, width a head', (3,)),
      (r'.*/out/kernel', 'heads, width a head, width', (3,)),
      (r'output_projection/kernel', 'width, classes', (2,)),
      (r'output_projection/bias', 'classes', (1,)),
    ):
      for name, array in self.arrays.items():
        if re.fullmatch(pattern, name) and array.ndim not in wanted:
          return f'{name} has shape {array.shape}, not [{axes}]'
    for name, array in self.arrays.items():
      if name.endswith('pos_embedding') and array.shape[2] != kernel.shape[-1]:
        return (
          f'{name} has shape {array.shape}, not of width {kernel.shape[-1]}'
        )
    return self._odd_block()

  def _odd_block(self) -> str | None:
    """Returns what makes a block, or a norm, unlike the others of its encoder.

    What is missing in all of them is found when they are fitted to a model.
    """
    width = self.arrays['embedding/kernel'].shape[-1]
    for name, array in self.arrays.items():
      norm = re.search(r'(norm|LayerNorm_\w+)/(scale|bias)$', name)
      if norm and not name.startswith('MAPHead_0/') and array.shape != (width,):
        return f'{name} has shape {array.shape}, not of width {width}'
    parts: dict[str, dict[str, dict[str, tuple[int, ...]]]] = {}
    for name, array in self.arrays.items():
      if match := _BLOCK.match(name):
        blocks = parts.setdefault(match[1], {})
        rest = name[match.end() :]
        blocks.setdefault(match[2], {})[rest] = array.shape
    for encoder, blocks in parts.items():
      numbers = {str(number) for number in range(len(blocks))}
      if blocks.keys() != numbers:
        missing = min(numbers - blocks.keys())
        return (
          f'{encoder} has {len(blocks)} blocks, but none of number {missing}'
        )
      for number, block in blocks.items():
        odd = set(block.items()) ^ set(blocks['0'].items())
        if odd:
          return (
            f'{encoder}/encoderblock_{number} is unlike encoderblock_0 in '
            f'{min(odd)[0]}'
          )
    return None

  def depths(self) -> dict[str, int]:
    """Returns the number of blocks of each encoder."""
    found: dict[str, set[int]] = {}
    for name in self.arrays:
      if match := _BLOCK.match(name):
        found.setdefault(match[1], set()).add(int(match[2]))
    return {encoder: len(layers) for encoder, layers in sorted(found.items())}

  def describe(self) -> str:
    """Returns lines for people: format, model, sizes and parameters."""
    kernel = self.arrays['embedding/kernel']
    lines = {
      'format': self.format,
      'model': self.family,
      'blocks': ', '.join(f'{n} in {e}' for e, n in self.depths().items()),
      'width': f'{kernel.shape[-1]}',
      'attention heads': f'{self._attention_heads()}',
      'patch' if self.is_image else 'tubelet': 'x'.join(
        str(side) for side in kernel.shape[:-2]
      ),
      'tokens': self._tokens(),
      'head': self._head(),
      'parameters': f'{sum(x.size for x in self.arrays.values()):,}',
    }
    pairs = [*lines.items(), *(('note', note) for note in self.notes)]
    return '\n'.join(f'{key:>16}  {value}' for key, value in pairs)

  def _attention_heads(self) -> int:
    name = next(n for n in self.arrays if n.endswith('/query/kernel'))
    return self.arrays[name].shape[1]

  def _tokens(self) -> str:
    found = [
      f'{array.shape[1]} in {name.split("/")[0]}'
      for name, array in sorted(self.arrays.items())
      if name.endswith('posembed_input/pos_embedding')
    ]
    return ', '.join(found) or 'without learned positions'

  def _head(self) -> str:
    bias = self.arrays.get('output_projection/bias')
    return 'none' if bias is None else f'{bias.size} classes'
