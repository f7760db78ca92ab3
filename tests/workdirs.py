"""A small model, and workdirs of it."""

import pathlib
from collections.abc import Callable

import pytest
from made import NAMES, parameters

from vivit_jax import config as configs
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig


@pytest.fixture
def config() -> TrainConfig:
  """Returns a small model's; no table has its size."""
  config = configs.default()
  config.model.size = 'Ti'
  config.model.options.update(
    tubelet=(2, 8, 8),
    width=16,
    attention_heads=2,
    mlp_width=32,
    spatial_layers=2,
    temporal_layers=1,
  )
  config.data.frames, config.data.stride = 4, 3
  config.data.crop, config.data.short_side = (32, 32), 40
  config.data.workers = 0
  config.evaluation.temporal_views = 3
  return configs.with_heads(
    configs.resolve(config), {head: len(names) for head, names in NAMES.items()}
  )


@pytest.fixture
def trained(tmp_path) -> Callable[..., pathlib.Path]:
  """Returns a function that writes a workdir of a config, never trained."""

  def make(config: TrainConfig, name: str = 'run', **about) -> pathlib.Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / 'config.json').write_text(configs.to_json(config))
    with Store(folder) as store:
      description = Description(config, NAMES, **about)
      store.save(5, {'params': parameters(config)}, description)
    return folder

  return make
