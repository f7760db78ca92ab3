"""Exports a model to a file that runs without this package.

The exported function maps uint8 frames to probabilities of each head. It
contains the preprocessing, and the parameters unless they are in a file of
their own. `export_formats` has the formats.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from vivit_jax import files
from vivit_jax.errors import UserError
from vivit_jax.inference import export_formats
from vivit_jax.inference.export_program import Program
from vivit_jax.inference.predictor import Predictor

DESCRIPTION = 'model.json'
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
_DEFAULT_PLATFORMS = ('cpu', 'cuda', 'tpu')
# Of the inputs, for model.json.
_MEANING = {
  'video': {'colours': 'RGB'},
  'frame_numbers': {'meaning': "each frame's number in its video, from 0"},
}


def export(
  predictor: Predictor,
  folder: str | os.PathLike,
  *,
  format: str = 'stablehlo',
  platforms: Sequence[str] | None = None,
  size: tuple[int, int] | None = None,
  beside: bool = False,
  batch: int | None = None,
) -> pathlib.Path:
  """Writes a folder with the artefact and model.json; returns its path.

  Args:
    predictor: the result of `vivit_jax.load`.
    folder: must be missing or empty; nothing is left in it after an error.
    format: a key of `export_formats.FORMATS`.
    platforms: from `PLATFORMS`, for StableHLO and a SavedModel; None: cpu, cuda
      and tpu.
    size: height and width of the input frames, which the artefact resizes and
      crops as evaluation does; None: the model's crop.
    beside: whether to write the parameters to a separate file, for StableHLO.
    batch: clips per call; None: any number.

  Raises:
    UserError: an argument does not fit the format, the folder is not empty or
      cannot be written, the parameters are too large, the format's packages are
      missing, or its converter fails.
  """
  files.check_local(folder)
  folder = pathlib.Path(folder).resolve()
  _check_options(folder, format, platforms, beside)
  chosen = export_formats.FORMATS[format]
  dtype = predictor.config.model.dtype if chosen.stablehlo else 'float32'
  platforms = tuple(_DEFAULT_PLATFORMS if platforms is None else platforms)
  program = Program(predictor, size, dtype, batch, platforms, beside)
  _check_size(program, format)
  about = _description(program, format)
  with _appearing(folder) as temporary:
    try:
      chosen.write(program, temporary / chosen.artefact)
    except Exception as error:
      if not chosen.packages or isinstance(error, OSError):
        raise
      reason = (str(error).splitlines() or [repr(error)])[0]
      raise UserError(
        f'--format={format} cannot hold this model: its converter says '
        f"'{reason[:200]}'."
      ) from error
    about['sha256'] = {
      path.relative_to(temporary).as_posix(): _sha256(path)
      for path in sorted(temporary.rglob('*'))
      if path.is_file()
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + '\n'
    (temporary / DESCRIPTION).write_text(text, 'utf-8')
  return folder


def _description(program: Program, format: str) -> dict[str, Any]:
  """Returns the contents of model.json, without checksums."""
  chosen, predictor = export_formats.FORMATS[format], program.predictor
  batch = program.batch or 'b'
  model = dataclasses.asdict(predictor.config.model)
  return {
    'usage': chosen.usage(program),
    'format': format,
    'artefact': chosen.artefact,
    'parameters': export_formats.PARAMETERS if program.beside else 'inside',
    'checkpoint': predictor.name,
    'inputs': {
      name: {'dtype': str(x.dtype), 'shape': list(x.shape)} | _MEANING[name]
      for name, x in program.inputs(batch).items()
    },
    'outputs': {
      head: {
        'dtype': 'float32',
        'shape': [batch, len(names)],
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
      if program.size
      else 'normalisation',
    },
    'model': model | {'dtype': program.dtype},
    'platforms': list(program.platforms) if chosen.stablehlo else None,
    'jax': jax.__version__,
  }


def _check_options(
  folder: pathlib.Path,
  format: str,
  platforms: Sequence[str] | None,
  beside: bool,
) -> None:
  """Raises a UserError for arguments of `export` that are not allowed."""
  formats = export_formats.FORMATS
  if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
    raise UserError(f'{folder} is no empty folder: set another --out.')
  if format not in formats:
    raise UserError(f"--format is '{format}'; it takes {', '.join(formats)}.")
  if beside and format != 'stablehlo':
    raise UserError(
      f'--parameters=beside is for --format=stablehlo, not for {format}.'
    )
  if platforms is not None and not formats[format].stablehlo:
    raise UserError(
      f'--platforms is for stablehlo and savedmodel, not for {format}.'
    )
  if platforms is not None and (not platforms or {*platforms} - {*PLATFORMS}):
    raise UserError(
      f"--platforms is '{','.join(platforms)}'; it takes any of "
      f'{", ".join(PLATFORMS)}, of which cuda and rocm are GPUs.'
    )
  for package in formats[format].packages:
    try:
      importlib.import_module(package)
    except ImportError as error:
      raise UserError(
        f'--format={format} needs {package}, which cannot be imported '
        f'({error}): pip install -r requirements-export.txt -c requirements.txt'
      ) from None


def _check_size(program: Program, format: str) -> None:
  """Raises a UserError if the parameters do not fit into the artefact."""
  parameters = sum(x.nbytes for x in program.leaves)
  limited = export_formats.FORMATS[format].limited and not program.beside
  if parameters > export_formats.MAX_INSIDE and limited:
    raise UserError(
      f'the parameters are {parameters / 2**30:.1f} GiB, but a file of '
      f'--format={format} holds at most 2 GiB: --format=stablehlo '
      '--parameters=beside writes them to a separate file.'
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
