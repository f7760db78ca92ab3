"""The step's updates against NumPy, by the formulas of torch's optimisers."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from vivit_jax import config as configs
from vivit_jax import parallel
from vivit_jax.training import optim, step

STEPS, WARMUP, PEAK, DECAY, CLIP = 8, 2, 0.02, 0.1, 2.0
MOMENTUM, B1, B2, EPSILON = 0.9, 0.9, 0.999, 1e-8

Arrays = dict[str, np.ndarray]  # float64, by the parameter's name


def config(name: str) -> configs.TrainConfig:
  return tiny.config(
    data__frames=4,
    optim__name=name,
    optim__learning_rate=PEAK,
    optim__warmup_steps=WARMUP,
    optim__momentum=MOMENTUM,
    optim__b1=B1,
    optim__b2=B2,
    optim__weight_decay=DECAY,
    optim__clip_norm=CLIP,
  )


def recorder() -> optax.GradientTransformation:
  """Returns a transformation whose state is the last gradient, unchanged."""

  def zeros(params):
    return jax.tree.map(jnp.zeros_like, params)

  return optax.GradientTransformation(zeros, lambda g, state, params: (g, g))


def arrays(tree) -> Arrays:
  found, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(p): np.float64(x) for p, x in found}


def trajectory(name: str) -> list[tuple[Arrays, Arrays, float]]:
  """Returns parameters, gradient and its norm after each step, from step 0."""
  experiment = config(name)
  model = tiny.model(family='factorised_encoder')
  rate = optim.schedule(experiment.optim, steps=STEPS, steps_per_epoch=1.0)
  optimiser = optax.chain(recorder(), optim.optimiser(experiment.optim, rate))
  state = tiny.state(model, optimiser, experiment)
  draw = np.random.default_rng(0)
  found = [(arrays(state.params), {}, 0.0)]
  state = parallel.replicate(state)
  update = step.train_step(model, optimiser, experiment)
  for _ in range(STEPS):
    batch = {
      'video': draw.integers(0, 256, (8, 4, 16, 16, 3)).astype(np.uint8),
      'labels': {'label': draw.integers(0, 3, 8).astype(np.int32)},
    }
    state, metrics = update(state, parallel.shard(batch))
    alone = parallel.unreplicate(state)
    norm = float(parallel.unreplicate(metrics['gradient_norm']))
    found.append((arrays(alone.params), arrays(alone.opt_state[0]), norm))
  return found


def rate_of(number: int) -> float:
  """Returns the learning rate: a line from 0, then half a cosine to 0."""
  if number < WARMUP:
    return PEAK * number / WARMUP
  done = (number - WARMUP) / (STEPS - WARMUP)
  return PEAK * (1 + math.cos(math.pi * done)) / 2


def decay_of(name: str) -> float:
  return DECAY if 'kernel' in name else 0.0


def sgd() -> Callable[[str, np.ndarray, np.ndarray, int], np.ndarray]:
  """torch.optim.SGD: the decay joins the gradient, before the momentum."""
  momenta = {}

  def update(name, weights, gradient, number):
    gradient = gradient + decay_of(name) * weights
    old = momenta.get(name)
    momenta[name] = gradient if old is None else MOMENTUM * old + gradient
    return weights - rate_of(number) * momenta[name]

  return update


def adamw() -> Callable[[str, np.ndarray, np.ndarray, int], np.ndarray]:
  """torch.optim.AdamW (Loshchilov and Hutter, arXiv 1711.05101)."""
  first, second = {}, {}

  def update(name, weights, gradient, number):
    rate = rate_of(number)
    weights = weights * (1 - rate * decay_of(name))
    first[name] = B1 * first.get(name, 0.0) + (1 - B1) * gradient
    second[name] = B2 * second.get(name, 0.0) + (1 - B2) * gradient**2
    mean = first[name] / (1 - B1 ** (number + 1))
    spread = np.sqrt(second[name] / (1 - B2 ** (number + 1)))
    return weights - rate * mean / (spread + EPSILON)

  return update


@pytest.mark.parametrize('name, rule', [('sgd', sgd), ('adamw', adamw)])
def test_updates_follow_an_independent_optimiser(name, rule):
  """With warm-up and cosine, clip by global norm, and decay of kernels."""
  (expected, _, _), *steps = trajectory(name)
  start, update, norms = expected, rule(), []
  for number, (params, gradient, reported) in enumerate(steps):
    norm = math.sqrt(sum((g**2).sum() for g in gradient.values()))
    assert reported == pytest.approx(norm, rel=1e-5)
    clipped = {k: g * min(1.0, CLIP / norm) for k, g in gradient.items()}
    expected = {
      k: update(k, weights, clipped[k], number)
      for k, weights in expected.items()
    }
    for key, weights in expected.items():
      # float32's 0.999 is not quite 0.999: Adam's second moment has an error
      # of 3e-5 of itself, which the learning rate makes 3e-7 of an update.
      np.testing.assert_allclose(
        params[key], weights, rtol=0, atol=1e-6, err_msg=f'{key}, {number}'
      )
    norms.append(norm)
  assert min(norms) < CLIP < max(norms)  # some were clipped, and some not
  moved = max(np.abs(expected[k] - start[k]).max() for k in start)
  assert moved > 0.01  # far more than the tolerance
