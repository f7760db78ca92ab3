"""Exports a model as StableHLO (`jax.export`), which runs with jax alone.

The exported function maps uint8 frames to probabilities of each head, for any
batch size. It contains the preprocessing, and the parameters unless they are in
a file of their own.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vivit_jax.data import sampling
from vivit_jax.errors import UserError
from vivit_jax.inference.predictor import Predictor
from vivit_jax.models import builder, pixels

ARTEFACT = 'model.jax_export'
PARAMETERS = 'parameters.npz'
DESCRIPTION = 'model.json'
SAVED_MODEL = 'savedmodel'
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
# Max bytes of parameters inside the artefact: a flatbuffer holds at most 2 GiB,
# and 64 MiB are left for the program itself.
_MAX_INSIDE = (2 << 30) - (64 << 20)
_USAGE = """import json, numpy as np
from jax import export
about = json.load(open('model.json', encoding='utf-8'))
model = export.deserialize(bytearray(open('model.jax_export', 'rb').read()))
video = np.zeros({shape}, np.uint8)  # RGB, any number of clips
probabilities = model.call(video)"""
_USAGE_BESIDE = """file = np.load('parameters.npz')
parameters = [file[name] for name in sorted(file.files)]
probabilities = model.call(parameters, video)"""

# Maps (leaves of the parameters, videos) to probabilities of each head.
Classifier = Callable[[Sequence[Any], jax.Array], dict[str, jax.Array]]


def export(
  predictor: Predictor,
  folder: str | os.PathLike,
  *,
  platforms: Sequence[str] = ('cpu', 'cuda', 'tpu'),
  size: tuple[int, int] | None = None,
  beside: bool = False,
  savedmodel: bool = False,
) -> pathlib.Path:
  """Writes a folder with the artefact and its description, atomically.

  Args:
    predictor: the result of `vivit_jax.load`.
    folder: must be missing or empty.
    platforms: from `PLATFORMS`; the artefact runs on each of them.
    size: height and width of the input frames, which the artefact resizes and
      crops as evaluation does; None: input frames already have the model's crop
      size.
    beside: whether to write the parameters, of any size, to a separate file.
    savedmodel: whether to also write a TensorFlow SavedModel.

  Returns:
    The folder.

  Raises:
    UserError: a platform is unknown, the folder is not empty or cannot be
      written, the parameters are too large, or TensorFlow is missing.
  """
  folder = pathlib.Path(folder)
  leaves = [np.asarray(x) for x in jax.tree.leaves(predictor.params)]
  _check(folder, leaves, platforms, beside, savedmodel)
  data = predictor.config.data
  shape = (data.frames, *(size or data.crop), 3)
  classify = classifier(predictor, size)
  artefact = _artefact(classify, leaves, shape, platforms, beside)
  about = _description(predictor, size, shape, platforms, beside)
  with _appearing(folder) as temporary:
    (temporary / ARTEFACT).write_bytes(artefact)
    if beside:
      arrays = {f'{index:05d}': leaf for index, leaf in enumerate(leaves)}
      np.savez(temporary / PARAMETERS, **arrays)
    about['sha256'] = {p.name: _sha256(p) for p in sorted(temporary.iterdir())}
    text = json.dumps(about, indent=2, ensure_ascii=False) + '\n'
    (temporary / DESCRIPTION).write_text(text, 'utf-8')
    if savedmodel:
      _write_saved_model(
        temporary / SAVED_MODEL, classify, leaves, shape, platforms
      )
  return folder


def classifier(
  predictor: Predictor, size: tuple[int, int] | None = None
) -> Classifier:
  """Returns the function to export.

  It maps the leaves of the parameters and videos, uint8 [b, T, H, W, 3], to
  float32 [b, K] for each head: softmax, or sigmoid for multi-label heads.

  Args:
    predictor: has the model and the preprocessing.
    size: height and width of the frames; None: the model's crop size.
  """
  data = predictor.config.data
  # 'plain' attention runs on every platform.
  config = builder.with_attention(predictor.config.model, 'plain')
  model = builder.build(config)
  tree = jax.tree.structure(predictor.params)
  resize = centre_crop(size or data.crop, data.crop, data.short_side)
  if size is None:
    resize = functools.partial(jnp.asarray, dtype=jnp.float32)

  def classify(leaves, video):
    params = jax.tree.unflatten(tree, leaves)
    video = pixels.normalise(resize(video), data.mean, data.std)
    logits = model.apply({'params': params}, video)
    return {
      head: jax.nn.sigmoid(x)
      if head in predictor.multi_label
      else jax.nn.softmax(x)
      for head, x in logits.items()
    }

  return classify


def centre_crop(
  size: tuple[int, int], crop: tuple[int, int], short_side: int
) -> Callable[[jax.Array], jax.Array]:
  """Returns a function that resizes and crops frames as evaluation does.

  `sampling.crop_and_resize` is linear along each axis, so it equals a product
  with one matrix per axis. OpenCV gives the matrix when it resizes an identity.

  Args:
    size: height and width of the frames.
    crop: height and width of the result.
    short_side: of the resized frames, before the crop.

  Returns:
    A function that maps uint8 [..., *size, 3] to float32 [..., *crop, 3],
    rounded to integers as in evaluation.
  """
  box = sampling.uniform_boxes(size, crop, short_side, 1)[0]
  shrinks = box.height > crop[0]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  rows, columns = (
    cv2.resize(np.eye(n, dtype=np.float32), (n, m), interpolation=method)
    for n, m in zip((box.height, box.width), crop)
  )
  vertical = slice(box.top, box.top + box.height)
  horizontal = slice(box.left, box.left + box.width)

  def resize(video):
    part = video[..., vertical, horizontal, :].astype(jnp.float32)
    with jax.default_matmul_precision('highest'):
      part = jnp.einsum('hH,...HWC->...hWC', rows, part)
      part = jnp.einsum('wW,...hWC->...hwC', columns, part)
    return jnp.clip(jnp.round(part), 0, 255)

  return resize


def _write_saved_model(
  folder: pathlib.Path,
  classify: Classifier,
  leaves: Sequence[np.ndarray],
  shape: tuple[int, ...],
  platforms: Sequence[str],
) -> None:
  """Writes a TensorFlow SavedModel; its default signature takes `video`.

  Parameters are variables, which are in separate files of any size.
  """
  import tensorflow as tf  # takes seconds, and is optional
  from jax.experimental import jax2tf

  converted = jax2tf.convert(
    classify,
    polymorphic_shapes=[None, '(b, ...)'],
    native_serialization_platforms=tuple(platforms),
    with_gradient=False,
  )
  module = tf.Module()
  module.weights = [
    tf.Variable(leaf, trainable=False, name=f'parameter_{index}')
    for index, leaf in enumerate(leaves)
  ]
  signature = tf.TensorSpec((None, *shape), tf.uint8, name='video')

  @tf.function(input_signature=[signature], autograph=False)
  def call(video):
    return converted(list(module.weights), video)

  module.call = call
  tf.saved_model.save(module, str(folder), signatures=call)


def _artefact(
  classify: Classifier,
  leaves: list[np.ndarray],
  shape: tuple[int, ...],
  platforms: Sequence[str],
  beside: bool,
) -> bytearray:
  """Returns the serialised function, for any batch size."""
  (batch,) = jax_export.symbolic_shape('b')
  video = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
  shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
  arguments = (shapes, video) if beside else (video,)
  function = classify if beside else functools.partial(classify, leaves)
  exporter = jax_export.export(jax.jit(function), platforms=tuple(platforms))
  return exporter(*arguments).serialize()


def _description(
  predictor: Predictor,
  size: tuple[int, int] | None,
  shape: tuple[int, ...],
  platforms: Sequence[str],
  beside: bool,
) -> dict[str, Any]:
  """Returns the contents of model.json, without checksums."""
  usage = _USAGE.replace('{shape}', str((1, *shape))).splitlines()
  if beside:
    usage[-1:] = _USAGE_BESIDE.splitlines()
  return {
    'usage': usage,
    'artefact': ARTEFACT,
    'parameters': PARAMETERS if beside else 'inside',
    'checkpoint': predictor.name,
    'inputs': {
      'video': {'dtype': 'uint8', 'shape': ['b', *shape], 'colours': 'RGB'}
    },
    'outputs': {
      head: {
        'dtype': 'float32',
        'shape': ['b', len(names)],
        'probabilities': 'sigmoid of each class'
        if head in predictor.multi_label
        else 'softmax',
        'labels': names,
      }
      for head, names in predictor.label_names.items()
    },
    'preprocessing': {
      **predictor.preprocessing,
      'inside': 'resize, centre crop, normalisation'
      if size
      else 'normalisation',
    },
    'model': dataclasses.asdict(predictor.config.model),
    'platforms': list(platforms),
    'jax': jax.__version__,
  }


def _check(
  folder: pathlib.Path,
  leaves: Sequence[np.ndarray],
  platforms: Sequence[str],
  beside: bool,
  savedmodel: bool,
) -> None:
  """Raises a UserError for arguments of `export` that are not allowed."""
  if os.path.lexists(folder):
    if not folder.is_dir() or any(folder.iterdir()):
      raise UserError(f'{folder} exists and is not empty: set another --out.')
  for platform in platforms or ['']:
    if platform not in PLATFORMS:
      raise UserError(
        f"--platforms has '{platform}'; it takes {', '.join(PLATFORMS)}, of "
        'which cuda and rocm are GPUs.'
      )
  parameters = sum(x.nbytes for x in leaves)
  if parameters > _MAX_INSIDE and not beside:
    raise UserError(
      f'the parameters are {parameters / 2**30:.1f} GiB, but an artefact holds '
      'at most 2 GiB: --parameters=beside writes them to a separate file.'
    )
  if savedmodel and not importlib.util.find_spec('tensorflow'):
    raise UserError(
      '--savedmodel needs TensorFlow, which is not installed: pip install '
      'tensorflow-cpu, or leave out the flag.'
    )


def _sha256(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


@contextlib.contextmanager
def _appearing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary folder; renames it to `folder` if nothing fails."""
  temporary = folder.with_name(f'.{folder.name}.{os.getpid()}')
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir()
    yield temporary
    os.replace(temporary, folder)
  except OSError as error:
    raise UserError(
      f'cannot write {folder}: {error.strerror or error}.'
    ) from None
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
