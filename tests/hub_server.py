"""A Hub on this machine: the few requests that huggingface_hub makes."""

import contextlib
import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class Hub:
  """Repositories of local folders, and a log of requests.

  Attributes:
    url: of the server.
    repositories: name -> revision -> folder.
    gated: names whose files may not be downloaded.
    cuts: file -> number of bytes after which its next download is cut off.
    requests: (method, path, Range header or None) of all requests.
  """

  def __init__(self, url: str):
    self.url = url
    self.repositories: dict[str, dict[str, pathlib.Path]] = {}
    self.gated: set[str] = set()
    self.cuts: dict[str, int] = {}
    self.requests: list[tuple[str, str, str | None]] = []

  def add(self, name: str, folder: pathlib.Path, revision: str = 'main'):
    self.repositories.setdefault(name, {})[revision] = folder

  def downloads(self) -> list[str]:
    """Returns the names of the files whose content was requested."""
    return [
      path.partition(f'{COMMIT}/')[2]
      for method, path, _ in self.requests
      if method == 'GET' and not path.startswith('/api/')
    ]


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  hub: Hub  # of a subclass

  def log_message(self, *_):
    pass

  def do_HEAD(self):
    self._answer()

  def do_GET(self):
    self._answer()

  def _answer(self):
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    self.hub.requests.append((self.command, path, self.headers.get('Range')))
    api = path.startswith('/api/models/')
    parts = path.removeprefix('/api/models').strip('/').split('/')
    name, revision, file = (
      '/'.join(parts[:2]),
      parts[3] if len(parts) > 3 else 'main',
      '/'.join(parts[4:]),
    )
    folders = self.hub.repositories.get(name)
    if folders is None:
      return self._send(404, error='RepoNotFound')
    if revision == COMMIT:
      revision = next(iter(folders))
    if revision not in folders:
      return self._send(404, error='RevisionNotFound')
    folder = folders[revision]
    if api:
      paths = [path for path in folder.rglob('*') if path.is_file()]
      names = [str(path.relative_to(folder)) for path in paths]
      siblings = [{'rfilename': name} for name in names]
      info = {'id': name, 'sha': COMMIT, 'siblings': siblings}
      return self._send(200, json.dumps(info).encode())
    if name in self.hub.gated:
      return self._send(403, error='GatedRepo')
    if not (folder / file).is_file():
      return self._send(404, error='EntryNotFound')
    self._send(200, (folder / file).read_bytes(), file=file)

  def _send(self, status, body=b'', error=None, file=None):
    headers = {'X-Repo-Commit': COMMIT}
    if error is not None:
      headers['X-Error-Code'] = error
    if file is not None:
      headers['ETag'] = f'"{hashlib.sha256(body).hexdigest()}"'
      if start := self.headers.get('Range'):
        first = int(start.removeprefix('bytes=').partition('-')[0])
        total = len(body)
        headers['Content-Range'] = f'bytes {first}-{total - 1}/{total}'
        status, body = 206, body[first:]
    headers['Content-Length'] = str(len(body))
    self.send_response(status)
    for key, value in headers.items():
      self.send_header(key, value)
    self.end_headers()
    if self.command == 'GET':
      cut = self.hub.cuts.pop(file, None)
      self.wfile.write(body[:cut])
      self.close_connection = cut is not None


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
  """Serves a Hub on a free port."""
  handler = type('Handler', (_Handler,), {})
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    server.daemon_threads = True
    handler.hub = Hub(f'http://127.0.0.1:{server.server_port}')
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler.hub
    server.shutdown()
