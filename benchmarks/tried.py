"""What was tried to be faster: each part of a model in two forms.

`benchmarks.trials` measures them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks import contestants
from vivit_jax import models
from vivit_jax.evaluation import views
from vivit_jax.models import attention, embeddings, pixels, products

Form = tuple[Callable[..., Any], Sequence[Any]]  # a function, its arguments


@dataclasses.dataclass(frozen=True)
class Trial:
  """Two ways to compute the same.

  Attributes:
    what: was tried, instead of what, on which shapes.
    expected: before it was measured.
    kept: whether and where it is in the models, and why.
    forms: makes the form that was tried and the one that it replaces.
    training: whether the derivative by all arguments is measured too.
    memory: whether bytes are compared, by XLA, and not seconds.
    backend: of jax, where the tried form has only one.
  """

  what: str
  expected: str
  kept: str
  forms: Callable[[], tuple[Form, Form]]
  training: bool = True
  memory: bool = False
  backend: str | None = None


def _random(*shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(sum(shape)), shape)


def _tubelets() -> tuple[Form, Form]:
  video, kernel = _random(2, 16, 224, 224, 3), _random(2, 16, 16, 3, 768)
  ours = embeddings.TubeletEmbedding(768, (2, 16, 16))
  stem = nn.Conv(768, (2, 16, 16), (2, 16, 16), padding='VALID')

  def by(module):
    def embed(kernel):
      params = {'kernel': kernel, 'bias': jnp.zeros(768)}
      return module.apply({'params': params}, video)

    return embed

  return (by(ours), [kernel]), (by(stem), [kernel])


def _normalisation() -> tuple[Form, Form]:
  pixel = jax.random.randint(jax.random.key(0), (4, 16, 224, 224, 3), 0, 256)
  pixel, kernel = pixel.astype(jnp.uint8), _random(512, 3, 384)
  mean, std = jnp.asarray((0.45, 0.5, 0.4)), jnp.asarray((0.2, 0.25, 0.3))

  def product(video, kernel):
    tubelets = einops.rearrange(
      video, 'B (t f) (h p) (w q) C -> B t h w (f p q C)', f=2, p=16, q=16
    )
    return tubelets.astype(jnp.float32) @ kernel.reshape(-1, 384)

  def inside(kernel):
    shift = jnp.einsum('C,pCD->D', mean / std, kernel)
    return product(pixel, kernel / (255.0 * std)[:, None]) - shift

  def before(kernel):
    return product(pixels.normalise(pixel, mean, std), kernel)

  return (inside, [kernel]), (before, [kernel])


def _qkv() -> tuple[Form, Form]:
  inputs = _random(8, 197, 768), *(_random(768, 12, 64) for _ in range(3))

  def fused(x, *kernels):
    return jnp.einsum('BND,DcHd->cBNHd', x, jnp.stack(kernels, axis=1))

  def apart(x, *kernels):
    return jnp.stack([jnp.einsum('BND,DHd->BNHd', x, k) for k in kernels])

  return (fused, inputs), (apart, inputs)


def _matrices() -> tuple[Form, Form]:
  inputs = _random(4, 393, 384), _random(384, 6, 64)
  summed = (((2,), (0,)), ((), ()))
  first, second = (
    lambda x, kernel, product=product: product(x, kernel, summed)
    for product in (products.matrix_product, jax.lax.dot_general)
  )
  return (first, inputs), (second, inputs)


def _parts() -> tuple[Form, Form]:
  video = _random(1, 12, 16, 112, 112, 3)
  model, params = _small_model(16)

  def form(most):
    def apply(clips):
      return model.apply({'params': params}, clips)

    return lambda video: views.of_each_view(apply, video, most)

  return (form(3), [video]), (form(None), [video])


def _donation() -> tuple[Form, Form]:
  arguments = contestants.with_defaults(size='S', frames=8, crop=112, batch=2)
  program = contestants.our_program(arguments)
  inputs = program.shapes(arguments)
  donated = jax.jit(program.step, donate_argnums=(0, 1))
  return (donated, inputs), (jax.jit(program.step), inputs)


def _attention(
  tried: str, before: str, *shape: int, dtype: str = 'float32'
) -> tuple[Form, Form]:
  inputs = [_random(*shape).astype(dtype) for _ in range(3)]
  first, second = (
    functools.partial(attention.attend, kind=kind) for kind in (tried, before)
  )
  return (first, inputs), (second, inputs)


def _softmax() -> tuple[Form, Form]:
  _, (before, inputs) = _attention('plain', 'plain', 392, 8, 6, 64)

  def divided(query, key, value):
    query, key, value = (
      einops.rearrange(x, 'B n H d -> B H n d') for x in (query, key, value)
    )
    scores = jnp.einsum('BHnd,BHmd->BHnm', query / 8.0, key)
    return jnp.einsum('BHnm,BHmd->BnHd', jax.nn.softmax(scores), value)

  return (divided, inputs), (before, inputs)


def _options(tried: dict, before: dict) -> tuple[Form, Form]:
  """A small factorised encoder, built in two ways."""
  video = _random(2, 8, 112, 112, 3)

  def form(options):
    model, params = _small_model(8, **options)

    def features(params):
      found = model.apply({'params': params}, video, features=True)
      return found.pre_logits.astype(jnp.float32)

    return features, [params]

  return form(tried), form(before)


def _small_model(frames: int, **options: Any) -> tuple[nn.Module, Any]:
  """Returns a factorised encoder of pictures 112 x 112, and its parameters."""
  config = models.ModelConfig(
    'factorised_encoder',
    'S',
    heads={'label': 10},
    options={'spatial_layers': 4, 'tubelet': (2, 16, 16)},
    **options,
  )
  model = models.build(config)
  clip = jnp.zeros((1, frames, 112, 112, 3))
  return model, jax.jit(model.init)(jax.random.key(0), clip)['params']


TRIALS = {
  'tubelets': Trial(
    'patch embedding as reshape and product, not 3D convolution; B, 2 clips',
    'faster: a stride that is the kernel needs no convolution',
    'kept',
    _tubelets,
  ),
  'normalisation': Trial(
    'uint8 pixels normalised inside the first product, not before; S, 4 clips',
    'a pass over the pixels saved',
    'not kept: XLA fuses normalising with the reshape already, and mixed or '
    'recoloured clips are not uint8 any more',
    _normalisation,
  ),
  'qkv': Trial(
    'query, key, value by one product, not three; B, 8 sequences of 197',
    'slightly faster: one large product',
    'not kept: weights would have to be copied together at each step',
    _qkv,
  ),
  'matrices': Trial(
    'tokens and weights as matrices in products; S, 4 sequences of 393, query',
    'no copies of tokens and weights for gradients',
    'kept in all layers',
    _matrices,
  ),
  'heads_first': Trial(
    "attention with heads first, not flax's; B, 16 sequences of 197",
    'faster: XLA fuses it whole',
    'kept (`plain`)',
    lambda: _attention('plain', 'flax', 16, 197, 12, 64),
  ),
  'heads_first_short': Trial(
    "the same; B's time attention, 196 sequences of 16",
    'faster',
    'kept (`plain`)',
    lambda: _attention('plain', 'flax', 196, 16, 12, 64),
  ),
  'softmax': Trial(
    "attention's weights divided before the product, not it; S's time "
    'attention, 392 sequences of 8',
    'slower: more numbers to divide',
    'not kept',
    _softmax,
  ),
  'blocked': Trial(
    'attention to blocks of 100 keys, not to all; S, 4 sequences of 393',
    'faster forwards on CPUs: XLA fuses it',
    'kept on CPUs for 257 to 1023 tokens, where no derivative is asked for',
    lambda: _attention('blocked', 'plain', 4, 393, 6, 64),
    training=False,
  ),
  'chunked': Trial(
    'attention in chunks, not at once; B, a sequence of 3137',
    'faster where the scores leave the caches, and far less memory',
    'kept from 1024 tokens on',
    lambda: _attention('chunked', 'plain', 1, 3137, 12, 64),
  ),
  'cudnn': Trial(
    "attention by cuDNN's fused kernel, bfloat16; B, a sequence of 3137",
    'faster, far less memory',
    'kept on GPUs in bfloat16',
    lambda: _attention('cudnn', 'plain', 1, 3137, 12, 64, dtype='bfloat16'),
    backend='gpu',
  ),
  'parts': Trial(
    '12 views in parts of 3, not at once; Model 2 S of 4 + 4 layers, '
    '16 x 112 x 112',
    'faster on CPUs: a part fits in the caches',
    'kept on CPUs for evaluation',
    _parts,
    training=False,
  ),
  'donation': Trial(
    "the old state's buffers given to a step; Model 2 S, 2 clips",
    'less memory by parameters and momentum',
    'kept',
    _donation,
    training=False,
    memory=True,
  ),
  'stacked': Trial(
    'layers stacked, not one by one; Model 2 S of 4 + 4 layers, 2 clips of '
    '8 x 112 x 112',
    'slower by a little, compiled sooner',
    'an option, `model.scan`',
    lambda: _options({'scan': True}, {}),
  ),
  'remat_dots': Trial(
    'stacked, and all but the products computed again; the same',
    'slower by a little, less memory',
    "an option, `model.remat = 'dots'`",
    lambda: _options({'scan': True, 'remat': 'dots'}, {'scan': True}),
  ),
  'remat_full': Trial(
    'stacked, and all computed again; the same',
    'slower by a third, least memory',
    "an option, `model.remat = 'full'`",
    lambda: _options({'scan': True, 'remat': 'full'}, {'scan': True}),
  ),
  'bfloat16': Trial(
    'computation in bfloat16, not float32; the same',
    'faster on accelerators alone',
    "an option, `model.dtype = 'bfloat16'`",
    lambda: _options({'dtype': 'bfloat16'}, {}),
  ),
}
