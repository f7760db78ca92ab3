"""A trained model as one function that needs nothing of this package.

uint8 frames in, probabilities of each head out, for any batch size, as
StableHLO written by `jax.export`: jax alone loads it, on every platform that it
was written for. Preprocessing and parameters are inside.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vivit_jax.errors import UserError
from vivit_jax.inference import exported_readme
from vivit_jax.inference.exported_function import classifier
from vivit_jax.inference.predictor import Predictor

ARTEFACT = 'model.jax_export'
PARAMETERS = 'parameters.npz'
ABOUT = 'model.json'
README = 'README.txt'
SAVED_MODEL = 'savedmodel'
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
# Artefacts are flatbuffers, of at most 2 GiB; some is for what is no parameter.
_MOST_INSIDE = (1 << 31) - (64 << 20)


@dataclasses.dataclass(frozen=True)
class Options:
  """What is written, and for whom.

  Attributes:
    platforms: of `PLATFORMS`.
    size: height and width of the frames that are given; None for the config's
      crop. Others are resized and cut inside, as evaluation cuts a centre crop.
    beside: whether parameters lie in a file of their own, for those that are
      more than an artefact can hold.
    savedmodel: whether to write a TensorFlow SavedModel too.
  """

  platforms: Sequence[str] = ('cpu', 'cuda', 'tpu')
  size: tuple[int, int] | None = None
  beside: bool = False
  savedmodel: bool = False


def export(
  predictor: Predictor, folder: str | os.PathLike, options: Options
) -> pathlib.Path:
  """Writes a folder of artefact, description and README.

  It appears whole or not at all.

  Args:
    predictor: of `vivit_jax.load`.
    folder: that does not exist, or is empty.
    options: what to write.

  Returns:
    The folder.

  Raises:
    UserError: a folder that is there or cannot be written, platforms that are
      not known, parameters that are too large, or no TensorFlow.
  """
  folder = pathlib.Path(folder)
  _check(predictor, folder, options)
  shape = _shape(predictor, options)
  leaves = [np.asarray(x) for x in jax.tree.leaves(predictor.params)]
  classify = classifier(predictor, options.size)
  artefact = _artefact(classify, leaves, shape, options)
  about = _about(predictor, options, shape)
  with _appearing(folder) as inside:
    (inside / ARTEFACT).write_bytes(artefact)
    digests = {ARTEFACT: hashlib.sha256(artefact).hexdigest()}
    if options.beside:
      names = [f'{place:05d}' for place in range(len(leaves))]
      np.savez(inside / PARAMETERS, **dict(zip(names, leaves)))
      with (inside / PARAMETERS).open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256')
      digests[PARAMETERS] = digest.hexdigest()
    about['sha256'] = digests
    text = json.dumps(about, indent=2, ensure_ascii=False) + '\n'
    (inside / ABOUT).write_text(text, 'utf-8')
    readme = exported_readme.text(
      ARTEFACT, shape, options.beside, options.savedmodel
    )
    (inside / README).write_text(readme, 'utf-8')
    if options.savedmodel:
      from vivit_jax.inference import saved_model  # tensorflow takes seconds

      saved_model.write(
        inside / SAVED_MODEL, classify, leaves, shape, options.platforms
      )
  return folder


def unfinished(folder: str | os.PathLike) -> pathlib.Path:
  """Returns where `export` of this process writes, until all is there."""
  folder = pathlib.Path(folder)
  return folder.parent / f'.{folder.name}.{os.getpid()}'


def _artefact(
  classify: Callable,
  leaves: list[np.ndarray],
  shape: tuple[int, ...],
  options: Options,
) -> bytearray:
  """Returns the serialised function, of any batch size."""
  (batch,) = jax_export.symbolic_shape('b')
  video = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
  if options.beside:
    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves], video
    function = jax.jit(classify)
  else:
    arguments = (video,)
    function = jax.jit(functools.partial(classify, leaves))
  exporter = jax_export.export(function, platforms=tuple(options.platforms))
  return exporter(*arguments).serialize()


def _shape(predictor: Predictor, options: Options) -> tuple[int, ...]:
  """Returns the shape of one clip that the function takes."""
  data = predictor.config.data
  return (data.frames, *(options.size or data.crop), 3)


def _about(
  predictor: Predictor, options: Options, shape: tuple[int, ...]
) -> dict[str, Any]:
  """Returns what model.json says."""
  return {
    'artefact': ARTEFACT,
    'parameters': PARAMETERS if options.beside else 'inside',
    'checkpoint': predictor.name,
    'inputs': {
      'video': {'dtype': 'uint8', 'shape': ['b', *shape], 'colours': 'RGB'}
    },
    'outputs': {
      head: {
        'dtype': 'float32',
        'shape': ['b', len(names)],
        'probabilities': 'sigmoid, each for itself'
        if head in predictor.multi_label
        else 'softmax, of sum 1',
        'labels': names,
      }
      for head, names in predictor.label_names.items()
    },
    'preprocessing': {
      **predictor.preprocessing,
      'inside': 'normalisation'
      if options.size is None
      else 'resize, centre crop, normalisation',
    },
    'model': dataclasses.asdict(predictor.config.model),
    'platforms': list(options.platforms),
    'jax': jax.__version__,
  }


def _check(
  predictor: Predictor, folder: pathlib.Path, options: Options
) -> None:
  """Raises a UserError before any work is done."""
  for platform in options.platforms:
    if platform not in PLATFORMS:
      raise UserError(
        f"--platforms has '{platform}'; known are {', '.join(PLATFORMS)} "
        '(cuda and rocm are GPUs).'
      )
  if not options.platforms:
    raise UserError(f'--platforms is empty; known are {", ".join(PLATFORMS)}.')
  if options.size is not None and min(options.size) < 1:
    raise UserError(f'--resize is {options.size}; each side is at least 1.')
  if folder.is_symlink() or folder.exists():
    if not folder.is_dir() or any(folder.iterdir()):
      raise UserError(f'{folder} is there already: give another --out.')
  for parent in folder.parents:
    if os.path.lexists(parent):
      if not os.path.isdir(parent):
        raise UserError(f'cannot write {folder}: {parent} is no folder.')
      break
  size = sum(x.nbytes for x in jax.tree.leaves(predictor.params))
  if size > _MOST_INSIDE and not options.beside:
    raise UserError(
      f'the parameters are {size / 2**30:.1f} GiB, more than the 2 GiB of an '
      'artefact: --parameters=beside writes them to a file of their own.'
    )
  if options.savedmodel:
    try:
      import tensorflow  # noqa: F401
      from jax.experimental import jax2tf  # noqa: F401
    except ImportError as error:
      raise UserError(
        f'--savedmodel needs {error.name}, which is not installed: pip install '
        'tensorflow, or leave it out.'
      ) from None


@contextlib.contextmanager
def _appearing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a folder to write into, which takes its name at the end."""
  beginning = unfinished(folder)
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    beginning.mkdir()
    yield beginning
    os.replace(beginning, folder)
  except OSError as error:
    raise UserError(
      f'cannot write {folder}: {error.strerror or error}.'
    ) from None
  finally:
    shutil.rmtree(beginning, ignore_errors=True)
