"""A small model, and workdirs of it."""

import pathlib
from collections.abc import Callable

import pytest
from made import NAMES, parameters

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints.on_disk import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.models.build import Size


@pytest.fixture
def config(monkeypatch) -> TrainConfig:
  """Returns a small model's; no table has its size."""
  monkeypatch.setitem(models.SIZES, 'Ti', Size(2, 2, 16, 32))
  config = configs.default()
  config.model.size, config.model.tubelet = 'Ti', (2, 8, 8)
  config.model.temporal_layers = 1
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
