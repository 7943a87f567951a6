"""A network connection that can be cut: a relay in front of a server."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Relay:
    """Passes bytes on, both ways, between its port and another one, until it is cut, and again once it is mended."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._sockets: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections, and each new one at once."""
        self._is_cut = True
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Accepts connections again."""
        self._is_cut = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Ends the relay."""
        self.cut()
        self._listener.close()


@contextlib.contextmanager
def relay(url: str) -> Iterator[Relay]:
    """A relay in front of the server at a URL of this machine."""
    with contextlib.closing(Relay(int(url.rstrip("/").rpartition(":")[2]))) as running:
        yield running
