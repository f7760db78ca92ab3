"""Weights of one model as the start of another, with every array accounted for.

The same model takes all arrays. Another head, grid, tubelet or depth, and an
image ViT in the place of a video model, take what can be taken (paper, section
3.4): each array of the target is loaded, adapted or fresh, each one of the
source is used or left over, and always with a reason; anything else is an
error.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from vivit_jax.checkpoints import fit, heads
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError, nearest

KERNELS = ('central_frame', 'inflation')
_POSITIONS = 'posembed_input/pos_embedding'
_OUTPUT = 'output_projection/'
_HEAD = (_OUTPUT, 'pre_logits/')


@dataclasses.dataclass(frozen=True)
class Row:
  """What became of an array: 'loaded', 'adapted', 'fresh' or 'left over'."""

  what: str
  name: str
  why: str = ''


@dataclasses.dataclass(frozen=True)
class Adapted:
  """The parameters, flat, and the account of all arrays."""

  arrays: dict[str, np.ndarray]
  rows: list[Row]

  def table(self) -> str:
    """Returns a line a kind: loaded ones counted, the others by name."""
    loaded = sum(row.what == 'loaded' for row in self.rows)
    lines = [f'{"loaded":>10}  {loaded} arrays as they are']
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in self.rows:
      if row.what != 'loaded':
        pattern = re.sub(r'encoderblock_\d+', 'encoderblock_*', row.name)
        groups.setdefault((row.what, pattern, row.why), []).append(row.name)
    for (what, pattern, why), found in groups.items():
      times = f' ({len(found)} arrays)' if len(found) > 1 else ''
      lines.append(f'{what:>10}  {pattern}{times}: {why}')
    return '\n'.join(lines)


def adapt(
  source: Weights,
  fresh: Mapping[str, np.ndarray],
  *,
  grid: fit.Grid,
  kernel: str = 'central_frame',
  family: str | None = None,
  order: str | None = None,
  class_order: heads.Names | None = None,
  label_names: heads.Names | None = None,
) -> Adapted:
  """Returns a model's parameters with what the source gives it.

  Args:
    source: weights of any format.
    fresh: the model's own initial values by flat names, layers one by one; they
      stay where the source has nothing.
    grid: t, h and w of the model's tokens.
    kernel: how an image kernel becomes a tubelet's: 'central_frame' or
      'inflation'.
    family: of the model; None to tell it by its names.
    order: of the model's factorised attentions.
    class_order: names of the source's outputs, where they are known.
    label_names: names of the model's outputs, where they are known.

  Raises:
    UserError: another video model, or an array that no rule explains, on
      either side.
  """
  family = family or _family(fresh)
  _check_family(source, family, order)
  arrays = _renamed(source, family)
  arrays, head_how, head_why = heads.arrange(
    arrays, class_order or {}, label_names
  )
  if source.is_image and len(label_names or ()) > 1:
    head_why = head_why or 'one head there, several in the model'
  if _has_representation(source.arrays) != _has_representation(fresh):
    head_why = head_why or 'a representation layer is before one of them alone'
  if head_why:
    arrays = {n: a for n, a in arrays.items() if not n.startswith(_OUTPUT)}
  tubelet = fresh['embedding/kernel'].shape[:3]
  rows, result, used = [], {}, set()
  unexplained = []
  for name, start in fresh.items():
    found = arrays.get(name)
    if found is None:
      why = _why_fresh(name, source, fresh, head_why)
      result[name] = start
      rows.append(Row('fresh', name, why or ''))
      if why is None:
        unexplained.append(f'{name} is missing.{nearest(name, arrays)}')
      continue
    used.add(name)
    value, how = _fit(name, found, start, grid, tubelet, kernel, source)
    if value is None:
      result[name] = start
      if how:
        rows.append(Row('fresh', name, how))
      else:
        unexplained.append(
          f'{name} has shape {found.shape}, and the model wants {start.shape}.'
        )
      continue
    if name.startswith(_OUTPUT):
      how = how or head_how
    result[name] = value
    rows.append(Row('adapted' if how else 'loaded', name, how))
  if head_why:
    theirs = [name for name in source.arrays if name.startswith(_OUTPUT)]
    rows += [Row('left over', name, head_why) for name in theirs]
  for name in arrays:
    if name not in used:
      why = _why_left_over(name, source, fresh)
      rows.append(Row('left over', name, why or ''))
      if why is None:
        unexplained.append(f'{name} is of no use.{nearest(name, fresh)}')
  sizes = fit.other_sizes(arrays, fresh) if unexplained else []
  if sizes:
    raise UserError(
      f'these weights ({source.format}, {source.family}) are of another size: '
      f'they have {", ".join(sizes)}: set model.size, or the keys of model for '
      "its parts, to the weights' own."
    )
  if unexplained:
    raise UserError(
      f'these weights ({source.format}, {source.family}) do not fit the model: '
      f'{" ".join(unexplained[:5])}'
      + (f' And {len(unexplained) - 5} more.' if len(unexplained) > 5 else '')
    )
  return Adapted(result, rows)


def _family(fresh: Mapping[str, np.ndarray]) -> str:
  return Weights('', fresh).family


def _has_representation(arrays: Mapping[str, np.ndarray]) -> bool:
  return any(name.startswith('pre_logits/') for name in arrays)


def _check_family(source: Weights, family: str, order: str | None) -> None:
  """Raises a UserError for weights of another of the video models."""
  if source.is_image:
    return
  may_be, mine = (f.split(' or ') for f in (source.family, family))
  if not set(may_be) & set(mine):
    raise UserError(
      f'these weights ({source.format}) are of {source.family}, and the model '
      f'is {family}: one video model cannot start another; set model.family, '
      'or start from an image ViT.'
    )
  ordered = family.startswith('factorised_self') or 'dot_product' in family
  if ordered and order and source.order and order != source.order:
    raise UserError(
      f"these weights ({source.format}) have model.order '{source.order}', and "
      f"the model has '{order}': set it to the weights' own (or, if they are "
      f'otherwise than they seem, --config.init_order={order}).'
    )


def _renamed(source: Weights, family: str) -> dict[str, np.ndarray]:
  """Gives an image ViT's arrays the names of the target."""
  if not source.is_image:
    return dict(source.arrays)
  rules: tuple[tuple[str, str], ...] = ()
  if family == 'factorised_encoder':
    rules = (
      (r'Transformer/', 'SpatialTransformer/'),
      (r'cls$', 'cls_SpatialTransformer'),
    )
  if family == 'factorised_self_attention':
    block = r'(Transformer/encoderblock_\d+)'
    rules = (
      (f'{block}/LayerNorm_0', r'\1/LayerNorm_space'),
      (f'{block}/LayerNorm_1', r'\1/LayerNorm_mlp'),
      (f'{block}/MlpBlock_0', r'\1/MlpBlock'),
      (
        f'{block}/MultiHeadDotProductAttention_0',
        r'\1/MultiHeadDotProductAttention_space',
      ),
    )
  renamed = {}
  for name, array in source.arrays.items():
    for pattern, ours in rules:
      name = re.sub(f'^{pattern}', ours, name)
    renamed[name] = array
  return renamed


def _why_fresh(
  name: str, source: Weights, fresh: Mapping[str, np.ndarray], head_why: str
) -> str | None:
  """Returns why the source need not have an array; None if it must."""
  if name.startswith(_OUTPUT) and head_why:
    return head_why
  if name.startswith(_HEAD):
    return 'the source has no such head'
  video = source.family in ('factorised_encoder', 'factorised_self_attention')
  if not video and 'TemporalTransformer' in name:
    return 'the source has no temporal encoder'
  if 'TemporalTransformer' in name and 'TemporalTransformer' not in ''.join(
    source.depths()
  ):
    return 'the source averages over time'
  if not video and re.search(r'(LayerNorm|Attention)_time/', name):
    return 'the source has no temporal attention'
  if match := re.match(r'TemporalTransformer/encoderblock_(\d+)/', name):
    if int(match[1]) >= source.depths().get('TemporalTransformer', 0):
      return 'the source has fewer temporal layers'
  if name == 'cls' or name.startswith('cls_'):
    return 'the source has no class token'
  if name.endswith(_POSITIONS) and not _has_positions(source.arrays):
    return 'the source has no learned positions'
  return None


def _why_left_over(
  name: str, source: Weights, fresh: Mapping[str, np.ndarray]
) -> str | None:
  """Returns why the model has no use for an array; None if it should."""
  if name.startswith(('pre_logits/', 'pooler/')):
    return 'the model has no representation layer'
  if name.startswith('MAPHead_0/'):
    return 'the model does not pool with an attention head'
  if name.startswith('cls'):
    return 'the model has no such class token'
  if name.startswith('TemporalTransformer/'):
    mine = Weights('', fresh).depths().get('TemporalTransformer', 0)
    match = re.match(r'TemporalTransformer/encoderblock_(\d+)/', name)
    if not mine:
      return 'the model averages over time'
    if match and int(match[1]) >= mine:
      return 'the model has fewer temporal layers'
  if name.endswith(_POSITIONS) and not _has_positions(fresh):
    return 'the model has no learned positions'
  return None


def _has_positions(arrays: Mapping[str, np.ndarray]) -> bool:
  return any(name.endswith(_POSITIONS) for name in arrays)


def _fit(
  name: str,
  found: np.ndarray,
  start: np.ndarray,
  grid: fit.Grid,
  tubelet: fit.Grid,
  kernel: str,
  source: Weights,
) -> tuple[np.ndarray | None, str]:
  """Returns the array in the model's shape, and how, '' for as it is.

  None with a reason means fresh, None with '' an unexplained shape.
  """
  found = np.asarray(found, np.float32)
  if name.endswith(_POSITIONS):
    return fit.positions_of(name, found, start, grid, tubelet, source)
  if found.shape == start.shape:
    return found, ''
  if name.startswith(_HEAD):
    return None, f'another head: {found.shape} there'
  if name == 'embedding/kernel':
    return fit.kernel_of(found, start, kernel)
  return None, ''
