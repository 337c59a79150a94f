"""TLS over a non-blocking socket. Imported for HTTPS only: the import takes 10 ms of a process's start."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from ossmount.errors import Unavailable
from ossmount.oss.fetch.link import WANT_READ, WANT_WRITE
from ossmount.oss.fetch.trouble import Retry, Trouble


class TlsLink:
    """A TLS client. OpenSSL keeps decrypted bytes of its own: receive until it wants more, the poller does not see them."""

    drains = False

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None) -> None:
        self._socket = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False, session=session)

    @property
    def socket(self) -> ssl.SSLSocket:
        """The wrapped socket: it took the descriptor over."""
        return self._socket

    def handshake(self) -> int:
        """0 when done, WANT_READ or WANT_WRITE. Raises Trouble for a certificate that is not accepted."""
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return WANT_READ
        except ssl.SSLWantWriteError:
            return WANT_WRITE
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate of the endpoint is not accepted: {error.verify_message}"
            raise Trouble(Unavailable, Retry.NEVER, text) from None
        return 0

    def receive(self, windows: Sequence[memoryview]) -> int:
        try:
            return self._socket.recv_into(windows[0])
        except ssl.SSLWantReadError:
            return WANT_READ
        except ssl.SSLWantWriteError:
            return WANT_WRITE

    def send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except ssl.SSLWantReadError:
            return WANT_READ
        except ssl.SSLWantWriteError:
            return WANT_WRITE
