"""Downloads checkpoints from the Hugging Face Hub by name.

A name is `hf://OWNER/NAME[@REVISION][/FILE]`. huggingface_hub does the rest and
obeys its own environment variables (HF_HOME, HF_TOKEN, HF_ENDPOINT,
HF_HUB_OFFLINE). It is imported only if a name is given.

Every process may call this: huggingface_hub locks each file of its cache, so
the processes of a machine download it once.
"""

import contextlib
import errno
import functools
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vivit_jax import files
from vivit_jax.checkpoints.sources import hugging_face
from vivit_jax.errors import UserError

if TYPE_CHECKING:
  import huggingface_hub

# Suffixes of weights that are read without /FILE, if a repository has only one.
_SUFFIXES = ('.npz', '.pth', '.pt', '.pyth', '.msgpack', '.safetensors')


def local(path: str | os.PathLike) -> pathlib.Path:
  """Returns the local path of a checkpoint, downloaded if it is a Hub name.

  Without FILE, the weights are those that transformers would load, else the
  only file of a known suffix. `config.json`, `preprocessor_config.json` and
  `video_preprocessor_config.json` are downloaded beside them, and the shards of
  an index. The commit is printed to stderr; a process keeps it, so that all its
  readers get the same one. Other paths are returned unchanged.

  Raises:
    UserError: a malformed name; a repository, revision or file that is missing
      or not accessible; no network, or no space on the disk.
  """
  if files.on_hub(path):
    return _download(os.fspath(path))
  other = os.fspath(path).startswith(('hf:', 'http:', 'https:'))
  if other and not os.path.exists(path):
    raise _malformed(path)
  return pathlib.Path(path)


@functools.cache
def _download(name: str) -> pathlib.Path:
  """Downloads a checkpoint and returns the path of its weights."""
  uri = _parse(name)
  import huggingface_hub

  with _explained(name, uri):
    api = huggingface_hub.HfApi()
    revision, found = _files(api, uri)
    weights = uri.path_in_repo or _weights(found, name)
    inside = [file for file in found if file.startswith(f'{weights}/')]
    if inside:
      raise UserError(
        f'{name} is a folder: name a file in it, such as {inside[0]}.'
      )
    folder, slash, file = weights.rpartition('/')

    def get(file: str) -> pathlib.Path:
      path = f'{folder}{slash}{file}'
      return pathlib.Path(api.hf_hub_download(uri.id, path, revision=revision))

    path = get(file)
    for beside in hugging_face.BESIDE:
      if f'{folder}{slash}{beside}' in found:
        get(beside)
    if file.endswith(hugging_face.INDICES):
      for shard in sorted(hugging_face.shards(path)):
        get(shard)
  _say(f'{name}: commit {revision.resolved}')
  return path


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)  # stdout may be for JSON lines


def _parse(name: str) -> 'huggingface_hub.HfUri':
  from huggingface_hub import errors, parse_hf_uri

  try:
    uri = parse_hf_uri(name)
  except errors.HfUriError:
    raise _malformed(name) from None
  if uri.type != 'model':
    raise UserError(f'{name} is a {uri.type}, not a model: name a model.')
  parts = [*uri.path_in_repo.split('/'), *(uri.revision or '').split('/')]
  if {'.', '..'} & {*parts} or '\\' in name:
    raise UserError(f'{name} leaves its repository: name a file in it.')
  return uri


def _malformed(name: str | os.PathLike) -> UserError:
  return UserError(
    f"'{os.fspath(name)}' is neither a path nor a name on the Hub: write "
    'hf://OWNER/NAME[@REVISION][/FILE], as text.'
  )


def _files(
  api: 'huggingface_hub.HfApi', uri: 'huggingface_hub.HfUri'
) -> tuple['huggingface_hub.ResolvedRevision', list[str]]:
  """Returns the commit and its files; without network, those in the cache."""
  import httpx2
  from huggingface_hub import constants, errors

  of = {'repo_id': uri.id, 'revision': uri.revision}
  try:
    info = api.model_info(**of, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    # It also keeps the commit in the cache, for use without network.
    revision = api.resolve_revision(**of)
    return revision, [file.rfilename for file in info.siblings]
  except (httpx2.TransportError, errors.OfflineModeIsEnabled):
    pass
  except errors.HfHubHTTPError as error:
    if error.response.status_code < 500:
      raise
  if not constants.is_offline_mode():
    _say(f'no answer from {constants.ENDPOINT}: looking in the cache')
  revision = api.resolve_revision(**of, local_files_only=True)
  folder = api.snapshot_download(
    uri.id,
    revision=revision,
    local_files_only=True,
    allow_patterns=[],  # it need not be complete
  )
  found = pathlib.Path(folder).rglob('*')
  return revision, [
    path.relative_to(folder).as_posix() for path in found if path.is_file()
  ]


def _weights(found: list[str], name: str) -> str:
  """Returns the file of weights among a repository's files."""
  top = sorted(file for file in found if '/' not in file)
  weights = hugging_face.weights_among(top)
  if weights is not None:
    return weights
  single = [file for file in top if file.endswith(_SUFFIXES)]
  if len(single) == 1:
    return single[0]
  if single:
    raise UserError(
      f'{name} has several weights: {", ".join(single)}. Add /FILE to the name.'
    )
  raise UserError(
    f'{name} has no weights of a known name: add /FILE. It has '
    f'{", ".join(found[:10]) or "no files"}.'
  )


@contextlib.contextmanager
def _explained(name: str, uri: 'huggingface_hub.HfUri') -> Iterator[None]:
  """Turns errors of huggingface_hub into UserErrors."""
  from huggingface_hub import constants, errors

  page = f'{constants.ENDPOINT}/{uri.id}'
  try:
    yield
  except UserError:
    raise
  except errors.RevisionNotFoundError:
    reason = f"there is no revision '{uri.revision}': use one of {page}"
  except errors.GatedRepoError:
    reason = (
      f'access is restricted: request it on {page}, and set HF_TOKEN to your '
      'token'
    )
  except errors.RepositoryNotFoundError:
    reason = (
      f'there is no repository {page}, or it is private: correct the name, or '
      'set HF_TOKEN to a token that may read it'
    )
  except errors.RemoteEntryNotFoundError as error:
    reason = f'there is no file {error.response.url}: see {page}/tree/main'
  except (
    errors.LocalEntryNotFoundError,
    errors.RevisionResolutionError,
    errors.OfflineModeIsEnabled,
  ):
    reason = f'it is not in the cache {constants.HF_HUB_CACHE}, and ' + (
      'HF_HUB_OFFLINE is set: unset it'
      if constants.is_offline_mode()
      else f'{constants.ENDPOINT} cannot be reached: check the network'
    )
  except errors.HfHubHTTPError as error:
    status = error.response.status_code
    reason = f'{constants.ENDPOINT} answers with status {status}'
    if status in (401, 403):
      reason += ': set HF_TOKEN to a token that may read it'
  except OSError as error:
    reason = f'cannot download it to {constants.HF_HUB_CACHE}: {error}'
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
      reason = (
        f'the disk of {constants.HF_HUB_CACHE} is full: free space, or set '
        'HF_HOME to another folder'
      )
  except Exception as error:  # also of httpx2 and hf_xet
    reason = f'the download failed ({error}): try again'
  else:
    return
  raise UserError(f'{name}: {" ".join(reason.split())}.') from None
