"""The services that issue credentials, on loopback: the metadata service of an ECS instance, STS, and CloudSSO.

What they issue is entered into the accounts of an embedded server, and ends there when it says.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from ossmount.emulator.accounts import Accounts

ROLE = "trainer"
ARN = f"acs:ram::1234567890123456:role/{ROLE}"
ISSUER = "acs:ram::1234567890123456:oidc-provider/cluster"
OIDC_TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VydmljZS1hY2NvdW50.c2lnbmF0dXJl"
SSO_TOKEN = "eyJ0eXAiOiJKV1QiLCJzc28iOiJhY2Nlc3MifQ.YWNjZXNzLXRva2Vu"
_ROLES = "/latest/meta-data/ram/security-credentials/"


@dataclass
class Issue:
    """What was issued."""

    access_key_id: str
    access_key_secret: str
    security_token: str
    expires: int  # seconds since the epoch

    def document(self) -> dict[str, str]:
        return {
            "AccessKeyId": self.access_key_id,
            "AccessKeySecret": self.access_key_secret,
            "SecurityToken": self.security_token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.expires)),
        }


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    parameters: dict[str, str] = field(default_factory=dict)  # of query and form together
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class IdentityServer:
    """All of them at `url`, as a context manager. Its attributes may be changed while it runs."""

    def __init__(self, accounts: Accounts | None = None, *, seconds: float = 3600.0) -> None:
        """seconds: how long what is issued is valid."""
        self.accounts = accounts or Accounts()
        self.seconds = seconds
        self.status = 0  # answered to everything instead
        self.silent = False  # connections are closed without an answer
        self.plain = False  # a service that knows no hardening mode
        self.role = ROLE  # "" for an instance without one
        self.region = "cn-hangzhou"  # of the instance
        self.keys = {"LTAI5tBase": "base-secret"}  # of who may assume the role
        self.asked: list[Asked] = []
        self.issued: list[Issue] = []
        self._numbers = itertools.count(1)
        self._tokens: set[str] = set()
        self._lock = threading.Lock()
        self.url = ""

    def __enter__(self) -> IdentityServer:
        identity = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                identity._serve(self, body)

            do_GET = do_PUT = do_POST = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()

    def issue(self) -> Issue:
        """New credentials, known to the accounts."""
        number = next(self._numbers)
        made = Issue(f"STS.NUgYrLnoC{number}", f"secret-{number}", f"token-{number}", int(time.time() + self.seconds))
        self.accounts.add(made.access_key_id, made.access_key_secret, made.security_token, expires=made.expires)
        self.issued.append(made)
        return made

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.command, parts.path, headers, {**query, **dict(parse_qsl(body.decode()))}, query, body)
        with self._lock:
            self.asked.append(asked)
            if self.silent:
                handler.close_connection = True
                return
            status, answer = (self.status, "no") if self.status else self._reply(asked)
        data = answer.encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _reply(self, asked: Asked) -> tuple[int, str]:
        if asked.path == "/cloud-credentials":
            return self._sso(asked)
        if asked.method == "POST":
            return self._sts(asked)
        if asked.method == "PUT":
            return self._token(asked)
        if not self.plain and asked.headers.get("x-aliyun-ecs-metadata-token") not in self._tokens:
            return 403, "the hardening mode is on"
        if asked.path == "/latest/meta-data/region-id":
            return 200, self.region
        if not asked.path.startswith(_ROLES) or not self.role:
            return 404, "not found"
        name = asked.path.removeprefix(_ROLES)
        if not name:
            return 200, self.role
        if name != self.role:
            return 404, "not found"
        if not self.issued or self.issued[-1].expires - time.time() < self.seconds / 2:
            self.issue()  # renewed by itself, long before they end
        return 200, json.dumps({"Code": "Success", **self.issued[-1].document()})

    def _token(self, asked: Asked) -> tuple[int, str]:
        if self.plain or asked.path != "/latest/api/token":
            return 404, "not found"
        if not 1 <= int(asked.headers["x-aliyun-ecs-metadata-token-ttl-seconds"]) <= 21600:
            return 400, "no such time"
        token = f"metadata-token-{len(self._tokens)}"
        self._tokens.add(token)
        return 200, token

    def _sts(self, asked: Asked) -> tuple[int, str]:
        given = asked.parameters
        if given.get("RoleArn") != ARN:
            return _refusal(404, "EntityNotExist.Role", "The specified Role not exists.")
        if given["Action"] == "AssumeRoleWithOIDC":
            if (given["OIDCToken"], given["OIDCProviderArn"]) != (OIDC_TOKEN, ISSUER):
                return _refusal(400, "AuthenticationFail.OIDCToken.Invalid", "This JWT was issued by someone else.")
        elif not self._rightly_signed(asked):
            return _refusal(400, "SignatureDoesNotMatch", f"server string to sign is: {hashlib.sha256(b'x').hexdigest()}")
        return 200, json.dumps({"RequestId": "6894B13B", "Credentials": self.issue().document()})

    def _sso(self, asked: Asked) -> tuple[int, str]:
        if asked.headers.get("authorization") != f"Bearer {SSO_TOKEN}":
            return _refusal(403, "InvalidToken", f"who is {asked.headers.get('authorization')}?")
        return 200, json.dumps({"CloudCredential": self.issue().document()})

    def _rightly_signed(self, asked: Asked) -> bool:
        secrets = {**self.keys, **{each.access_key_id: each.access_key_secret for each in self.issued}}
        secret = secrets.get(asked.parameters["AccessKeyId"], "")
        signed = sorted((name, value) for name, value in asked.parameters.items() if name != "Signature")
        canonical = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in signed)
        text = f"POST&%2F&{quote(canonical, safe='')}"
        expected = base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), "sha1")).decode()
        return bool(secret) and hmac.compare_digest(expected, asked.parameters["Signature"])


def _refusal(status: int, code: str, message: str) -> tuple[int, str]:
    return status, json.dumps({"RequestId": "6894B13B", "Code": code, "Message": message})
