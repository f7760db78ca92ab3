"""ViViT's Model 1 as Hugging Face's transformers has it, read and written."""

from collections.abc import Mapping
from typing import Any

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import image_vit, torch_names
from vivit_jax.models.family import Import
from vivit_jax.models.sizes import SIZES
from vivit_jax.models.weights import Clip, File, Weights

_SHORT_SIDE = 256  # the reference's, where no preprocessor says another
_NOTE = (
  'pixels are prepared as the reference does ([-1, 1], short side 256), not as '
  "its preprocessor's defaults would"
)
_POSITIONS = f'Transformer/{image_vit.POSITIONS}'


def read(file: File) -> Weights:
  """Reads a folder of a `VivitForVideoClassification`.

  Its config.json and preprocessor_config.json say which model and which
  pixels; nothing says the stride, which is this package's default.

  Raises:
    UserError: a model that cannot be built here, or a damaged file.
  """
  config = file.path.with_name('config.json')
  experiment = grid = None
  try:
    experiment = _experiment(file)
    tubelet = experiment['model']['options']['tubelet']
    sizes = experiment['data']['frames'], *experiment['data']['crop']
    t, h, w = (size // part for size, part in zip(sizes, tubelet))
    grid = t, h, w
  except UserError as error:
    raise UserError(f'{config}: {error}') from None
  except (KeyError, ZeroDivisionError):  # the user's config says it
    pass
  except (TypeError, ValueError) as error:
    raise damaged(config, f'{type(error).__name__}: {error}') from None
  weights = image_vit.hugging_face_arrays(
    file,
    'vivit',
    ('joint',),
    grid=grid,
    experiment=experiment,
    notes=(_NOTE,),
  )
  return image_vit.checked(weights, file)


READ = Import(
  "a Hugging Face folder of a ViViT (model_type 'vivit')",
  lambda file: (
    file.container == 'safetensors' and file.config.get('model_type') == 'vivit'
  ),
  read,
)


def _experiment(file: File) -> dict[str, Any]:
  """Returns the keys of config sections that the folder's files state."""
  config, pixels = file.config, file.preprocessor
  side = int(config['image_size'])
  size, widths = _size(config)
  options = {
    'tubelet': tuple(int(part) for part in config['tubelet_size']),
    'layers': int(config['num_hidden_layers']),
    **widths,
    **image_vit.hugging_face_options(file),
  }
  data = {
    'frames': int(config['num_frames']),
    'crop': (side, side),
    'short_side': _short_side(pixels, side),
    **_normalisation(pixels),
  }
  return {
    'model': {'family': 'joint', 'size': size, 'options': options},
    'data': data,
  }


def _size(config: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
  """Returns the name of a size, and the widths that it does not have."""
  keys = ('num_attention_heads', 'hidden_size', 'intermediate_size')
  heads, width, mlp = (int(config[key]) for key in keys)
  for name, size in SIZES.items():
    if (size.attention_heads, size.width, size.mlp) == (heads, width, mlp):
      return name, {}
  return 'B', {'attention_heads': heads, 'width': width, 'mlp_width': mlp}


def _short_side(pixels: Mapping[str, Any], side: int) -> int:
  if not pixels.get('do_resize', True):
    return side
  size = pixels.get('size') or {}
  return int(size.get('shortest_edge') or max(_SHORT_SIDE, side))


def _normalisation(
  pixels: Mapping[str, Any],
) -> dict[str, tuple[float, float, float]]:
  """Returns mean and std of pixels in [0, 1] that do what a preprocessor does.

  One with an offset maps to [-1, 1], as the reference does, and its further
  normalisation is left out: the weights were not trained with it.
  """
  if not pixels or pixels.get('offset', True):
    return {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}
  scale = 255 * float(pixels.get('rescale_factor', 1 / 255))
  mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
  if pixels.get('do_normalize', True):
    mean, std = pixels['image_mean'], pixels['image_std']
  mean, std = ([float(x) / scale for x in each] for each in (mean, std))
  return {'mean': tuple(mean), 'std': tuple(std)}


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns the files of a folder that transformers reads; `Family.exports`.

  Args:
    weights: of Model 1, with a class token.
    clip: that the model sees.

  Raises:
    UserError: what `VivitForVideoClassification` is not.
  """
  _check(weights, clip)
  tensors = {
    name if name.startswith('classifier.') else f'vivit.{name}': tensor
    for name, tensor in torch_names.to_theirs(weights.arrays).items()
  }
  return {
    'tensors': tensors,
    'config.json': _config(weights, clip),
    'preprocessor_config.json': preprocessor(clip),
  }


def _check(weights: Weights, clip: Clip) -> None:
  arrays = weights.arrays
  wrong = None
  if list(weights.models) != ['joint']:
    wrong = f'this is {weights.title}'
  elif 'cls' not in arrays:
    wrong = 'this one has no class token'
  elif _POSITIONS not in arrays:
    wrong = 'this one has no learned positions'
  elif any(name.startswith('pre_logits/') for name in arrays):
    wrong = 'this one has a representation layer'
  elif any(name.startswith('MAPHead_0/') for name in arrays):
    wrong = 'this one pools by attention'
  elif clip.crop[0] != clip.crop[1]:
    wrong = f'this one has crops of {clip.crop}'
  elif 'output_projection/bias' not in arrays:
    wrong = 'this one has no head'
  elif len(weights.label_names or {}) > 1:
    wrong = f'this one has the heads {", ".join(weights.label_names)}'
  if wrong:
    raise UserError(
      'Hugging Face has ViViT as Model 1 alone, with a class token, learned '
      f'positions, square crops and one head; {wrong}.'
    )
  tubelet = arrays['embedding/kernel'].shape[:-2]
  positions = arrays[_POSITIONS].shape[1] - 1
  sizes = (clip.frames, *clip.crop)
  tokens = 1
  for size, part in zip(sizes, tubelet):
    tokens *= size // part
  if any(s % p for s, p in zip(sizes, tubelet)) or positions != tokens:
    raise UserError(
      f'the weights have {positions} positions and tubelets of {tubelet}, '
      f'which are not of clips of {clip.frames} frames of {clip.crop} pixels: '
      'give --frames and --crop.'
    )


def preprocessor(clip: Clip) -> dict[str, Any]:
  """Returns the preprocessor that prepares pixels as this package does.

  Their resize differs from ours (antialiased, and before the crop): of videos
  whose short side is `clip.short_side` already, which neither resizes, the
  pixels are the same.
  """
  symmetric = clip.mean == clip.std == (0.5, 0.5, 0.5)  # to [-1, 1]
  height, width = clip.crop
  return {
    'image_processor_type': 'VivitImageProcessor',
    'do_resize': True,
    'size': {'shortest_edge': clip.short_side},
    'resample': 2,
    'do_center_crop': True,
    'crop_size': {'height': height, 'width': width},
    'do_rescale': True,
    'rescale_factor': 1 / 127.5 if symmetric else 1 / 255,
    'offset': symmetric,
    'do_normalize': not symmetric,
    'image_mean': list(clip.mean),
    'image_std': list(clip.std),
  }


def _config(weights: Weights, clip: Clip) -> dict[str, Any]:
  arrays, sizes = weights.arrays, image_vit.measure(weights.arrays)
  classes = arrays['output_projection/bias'].size
  known = [f'LABEL_{number}' for number in range(classes)]
  for names in (weights.label_names or {}).values():
    known = list(names)
  exact = weights.options.get('gelu') == 'exact'
  return {
    'architectures': ['VivitForVideoClassification'],
    'model_type': 'vivit',
    'hidden_act': 'gelu' if exact else 'gelu_fast',
    'hidden_size': sizes['width'],
    'intermediate_size': sizes['mlp_width'],
    'image_size': clip.crop[0],
    'layer_norm_eps': weights.options.get('norm_epsilon', 1e-6),
    'num_attention_heads': sizes['attention_heads'],
    'num_channels': 3,
    'num_frames': clip.frames,
    'num_hidden_layers': sizes['layers'],
    'qkv_bias': True,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    'tubelet_size': list(arrays['embedding/kernel'].shape[:3]),
    'id2label': {str(n): name for n, name in enumerate(known)},
    'label2id': {name: n for n, name in enumerate(known)},
  }
