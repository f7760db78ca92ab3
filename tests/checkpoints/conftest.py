"""Fixtures of these tests."""

import json
import shutil

import pytest
import reference
from workdirs import config as config
from workdirs import trained as trained


@pytest.fixture
def hugging_face(tmp_path):
  """Returns a function that copies a Hugging Face ViViT and changes its JSON.

  None removes a key. Without a `preprocessor`, that file is removed.
  """

  def make(name='hugging', preprocessor=None, **config):
    folder = tmp_path / name
    shutil.copytree(reference.FIXTURES / 'huggingface_vivit', folder)
    path = folder / 'config.json'
    written = json.loads(path.read_text()) | config
    kept = {key: value for key, value in written.items() if value is not None}
    path.write_text(json.dumps(kept))
    beside = folder / 'preprocessor_config.json'
    beside.unlink(missing_ok=True)
    if preprocessor is not None:
      beside.write_text(json.dumps(preprocessor))
    return folder

  return make
