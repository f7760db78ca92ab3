"""File formats of exported models: how each is written, and how it is run."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax import export as jax_export

from vivit_jax.inference.export_program import Program

PARAMETERS = 'parameters.npz'
# Max bytes of a file with the parameters inside: flatbuffers and protocol
# buffers hold at most 2 GiB, and 64 MiB are left for the program itself.
MAX_INSIDE = (2 << 30) - (64 << 20)


@dataclasses.dataclass(frozen=True)
class Format:
  """A file format.

  Attributes:
    artefact: name of the file or folder to write.
    write: writes a program to the path of its artefact.
    packages: modules that `write` imports, besides jax.
    stablehlo: whether it holds StableHLO, which is lowered for some platforms
      and has the model's precision. The others compute in float32, because
      their runtimes lack operations in bfloat16.
    limited: whether the file holds at most `MAX_INSIDE` bytes of parameters.
    load, call: lines of Python that load the model, and that map '{inputs}' to
      `probabilities`.
    argument: how an input of the name {0} is passed in `call`.
  """

  artefact: str
  write: Callable[[Program, pathlib.Path], None]
  packages: tuple[str, ...]
  stablehlo: bool
  limited: bool
  load: str
  call: str
  argument: str

  def usage(self, program: Program) -> list[str]:
    """Returns lines of Python that run the model in the exported folder."""
    count = 'any number of' if program.batch is None else program.batch
    shapes = program.inputs(program.batch or 1)
    call = _CALL_BESIDE if program.beside else self.call
    inputs = ', '.join(map(self.argument.format, shapes))
    numbers = []
    if 'frame_numbers' in shapes:
      shape = shapes['frame_numbers'].shape
      numbers = [f'frame_numbers = np.zeros({shape}, np.int32)  # in the video']
    return [
      'import json, numpy as np',
      *self.load.splitlines(),
      "about = json.load(open('model.json', encoding='utf-8'))",
      f'video = np.zeros({shapes["video"].shape}, np.uint8)'
      f'  # RGB, {count} clips',
      *numbers,
      *call.format(inputs=inputs).splitlines(),
    ]


def _write_stablehlo(program: Program, path: pathlib.Path) -> None:
  """Writes the output of `jax.export`; and parameters, if they are beside."""
  batch = program.batch or jax_export.symbolic_shape('b')[0]
  function, arguments = program.on_inputs, program.inputs(batch).values()
  if program.beside:
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in program.leaves]
    function, arguments = program.classify, (shapes, *arguments)
  exporter = jax_export.export(
    jax.jit(function), platforms=tuple(program.platforms)
  )
  path.write_bytes(exporter(*arguments).serialize())
  if program.beside:
    arrays = {f'{n:05d}': leaf for n, leaf in enumerate(program.leaves)}
    np.savez(path.with_name(PARAMETERS), **arrays)


def _tensorflow_module(program: Program) -> tuple[Any, Any]:
  """Returns a tf.Module and its function of the program's inputs.

  Parameters are variables, which a SavedModel keeps in files of any size.
  """
  import tensorflow as tf  # takes seconds
  from jax.experimental import jax2tf

  converted = jax2tf.convert(
    program.classify,
    polymorphic_shapes=[
      None,
      *[None if program.batch else '(b, ...)'] * len(program.inputs(1)),
    ],
    native_serialization_platforms=tuple(program.platforms),
    with_gradient=False,
  )
  module = tf.Module()
  module.weights = [
    tf.Variable(leaf, trainable=False, name=f'parameter_{index}')
    for index, leaf in enumerate(program.leaves)
  ]
  signature = [
    tf.TensorSpec((program.batch, *x.shape[1:]), x.dtype, name)
    for name, x in program.inputs(1).items()
  ]

  @tf.function(input_signature=signature, autograph=False)
  def call(*inputs):
    return converted(list(module.weights), *inputs)

  module.call = call
  return module, call


def _by_erfc() -> contextlib.AbstractContextManager:
  """Replaces erf, which TFLite lacks, and TensorFlow in jax's newer form.

  TFLite computes erfc by comparisons, which take at most 4 axes.
  """

  def by_erfc(x: jax.Array) -> jax.Array:
    flat = x.reshape(-1, x.shape[-1])
    return (1 - jax.lax.erfc(flat)).reshape(x.shape)

  return mock.patch.object(jax.lax, 'erf', by_erfc)


def _write_saved_model(program: Program, path: pathlib.Path) -> None:
  """Writes a folder whose default signature takes inputs by name."""
  import tensorflow as tf

  module, call = _tensorflow_module(program)
  with _by_erfc():
    tf.saved_model.save(module, str(path), signatures=call)


def _write_tflite(program: Program, path: pathlib.Path) -> None:
  import tensorflow as tf

  program = dataclasses.replace(program, platforms=('cpu',))
  module, call = _tensorflow_module(program)
  with _by_erfc():
    traced = call.get_concrete_function()
  converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module)
  path.write_bytes(converter.convert())


def _write_onnx(program: Program, path: pathlib.Path) -> None:
  """Writes one file; above `MAX_INSIDE`, with parameters in another one."""
  import jax2onnx
  import onnx

  # They warn of examples, which need other packages, and of constants' types.
  for library in ('jax2onnx', 'onnx_ir'):
    logging.getLogger(library).setLevel(logging.ERROR)
  inputs = program.inputs(program.batch or 'b')
  heads = list(program.predictor.label_names)
  for name in set(inputs).intersection(heads):
    raise ValueError(f"a head is named '{name}', as an input is")

  def call(*inputs):
    probabilities = program.on_inputs(*inputs)
    return [probabilities[head] for head in heads]

  # jax2onnx has no choice by platform.
  for_cpu = lambda *inputs, cpu, default: cpu(*inputs)  # noqa: E731
  with mock.patch.object(jax.lax, 'platform_dependent', for_cpu):
    model = jax2onnx.to_onnx(
      call,
      list(inputs.values()),
      input_names=list(inputs),
      output_names=heads,
    )
  large = sum(leaf.nbytes for leaf in program.leaves) > MAX_INSIDE
  onnx.save_model(
    model, path, save_as_external_data=large, location=f'{path.name}.data'
  )


_CALL_BESIDE = f"""file = np.load('{PARAMETERS}')
parameters = [file[name] for name in sorted(file.files)]
probabilities = model.call(parameters, {{inputs}})"""

# Values of --format.
FORMATS = {
  'stablehlo': Format(
    'model.jax_export',
    _write_stablehlo,
    packages=(),
    stablehlo=True,
    limited=True,
    load="""from jax import export
model = export.deserialize(bytearray(open('model.jax_export', 'rb').read()))""",
    call='probabilities = model.call({inputs})',
    argument='{0}',
  ),
  'savedmodel': Format(
    'savedmodel',
    _write_saved_model,
    packages=('tensorflow',),
    stablehlo=True,
    limited=False,
    load="""import tensorflow as tf
model = tf.saved_model.load('savedmodel').signatures['serving_default']""",
    call='probabilities = model({inputs})',
    argument='{0}=tf.constant({0})',
  ),
  'tflite': Format(
    'model.tflite',
    _write_tflite,
    packages=('tensorflow',),
    stablehlo=False,
    limited=True,
    load="""from ai_edge_litert.interpreter import Interpreter
model = Interpreter('model.tflite').get_signature_runner()""",
    call='probabilities = model({inputs})',
    argument='{0}={0}',
  ),
  'onnx': Format(
    'model.onnx',
    _write_onnx,
    packages=('jax2onnx', 'onnx'),
    stablehlo=False,
    limited=False,
    load="""import onnxruntime
model = onnxruntime.InferenceSession('model.onnx')
heads = [output.name for output in model.get_outputs()]""",
    call='probabilities = dict(zip(heads, model.run(heads, {{{inputs}}})))',
    argument="'{0}': {0}",
  ),
}
