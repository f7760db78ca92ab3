"""Local HTTP servers: of a folder, and ones that fall silent or end."""

import contextlib
import functools
import http.server
import pathlib
import socket
import threading
from collections.abc import Iterator


class _Quiet(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass


@contextlib.contextmanager
def folder(path: pathlib.Path) -> Iterator[str]:
  """Serves a folder; yields its URL."""
  handler = functools.partial(_Quiet, directory=str(path))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def silent_after(data: bytes) -> contextlib.AbstractContextManager[str]:
  """Serves these bytes and keeps the connection open; yields the URL."""
  return _once(data, '', closes=False)


def ending(
  data: bytes, header: str = ''
) -> contextlib.AbstractContextManager[str]:
  """Serves these bytes and closes the connection; yields the URL.

  Without a header, no length is announced.
  """
  return _once(data, header, closes=True)


@contextlib.contextmanager
def _once(data: bytes, header: str, closes: bool) -> Iterator[str]:
  with socket.create_server(('127.0.0.1', 0)) as server:
    done = threading.Event()

    def serve():
      with contextlib.suppress(OSError):
        connection, _ = server.accept()
        with connection:
          connection.recv(4096)
          head = f'HTTP/1.0 200 OK\r\n{header}\r\n'.encode()
          connection.sendall(head + data)
          if not closes:
            done.wait()

    threading.Thread(target=serve, daemon=True).start()
    yield f'http://127.0.0.1:{server.getsockname()[1]}/x.mkv'
    done.set()
