"""Roles that are assumed at the Security Token Service: with keys (AssumeRole), and with the OIDC token of a pod (RRSA).

Source: RAM documentation, "AssumeRole", "AssumeRoleWithOIDC" and, for signatures of version 1.0, "Request structure and
signature" of RPC-style calls.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

from ossmount.config import Credentials
from ossmount.oss.credentials.documents import MAX_DOCUMENT, issued_of, masked
from ossmount.oss.credentials.http import Service, ask
from ossmount.oss.credentials.interface import CredentialsError, Issued, Provider, Remote, Temporary

_VERSION = "2015-04-01"
_ARN = re.compile(r"acs:ram::[0-9*]{1,32}:role/[A-Za-z0-9.@_/-]{1,128}")
_SESSION = re.compile(r"[A-Za-z0-9.@_-]{2,64}")
_CODE = re.compile(r"[A-Za-z]{1,40}(\.[A-Za-z]{1,40}){0,3}")
_NOT_SESSION = re.compile(r"[^A-Za-z0-9.@_-]")


class Role(NamedTuple):
    """The role to assume, and how."""

    arn: str
    session: str = ""  # "" names this machine
    seconds: int = 0  # how long the credentials shall be valid; 0: as long as STS gives them by itself, an hour
    external_id: str = ""
    policy: str = ""

    def check(self) -> None:
        """Raises CredentialsError."""
        if not _ARN.fullmatch(self.arn):
            raise CredentialsError(f"{self.arn!r} is no role: write acs:ram::ACCOUNT:role/NAME")
        if self.session and not _SESSION.fullmatch(self.session):
            raise CredentialsError(f"{self.session!r} is no session name: 2 to 64 letters, digits, '.', '@', '_' and '-'")

    def parameters(self) -> dict[str, str]:
        session = self.session or _NOT_SESSION.sub("-", f"ossmount-{socket.gethostname()}")[:64]
        given = {
            "RoleArn": self.arn,
            "RoleSessionName": session,
            "DurationSeconds": str(self.seconds) if self.seconds else "",
            "ExternalId": self.external_id,
            "Policy": self.policy,
        }
        return {name: value for name, value in given.items() if value}


def sts_service(origin: str) -> Service:
    return Service("STS", origin.rstrip("/"), connect=5.0, read=10.0)


class AssumeRoleProvider(Remote):
    """Asks STS for credentials of a role with those of another source."""

    def __init__(self, base: Provider, role: Role, service: Service) -> None:
        """Raises CredentialsError for a role that is none."""
        role.check()
        self._base = base
        self._role = role
        self._service = service

    @property
    def name(self) -> str:
        return f"assume-role ({self._role.arn}) with {self._base.name}"

    def obtain(self) -> Issued:
        own = self._base.obtain().credentials
        if own.anonymous:
            raise CredentialsError("a role cannot be assumed without an access key")
        body = self._role.parameters()
        query = _common("AssumeRole") | {
            "AccessKeyId": own.access_key_id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": uuid.uuid4().hex,
        }
        if own.security_token:
            query["SecurityToken"] = own.security_token
        query["Signature"] = signature("POST", query | body, own)
        return _call(self._service, query, body, f"the role {self._role.arn}")


class OidcProvider(Remote):
    """Asks STS for credentials of a role with the token that Kubernetes writes for the pod's service account (RRSA)."""

    def __init__(self, role: Role, provider_arn: str, token_file: Path, service: Service) -> None:
        """token_file is read at each renewal: Kubernetes rewrites it. Raises CredentialsError for a role that is none."""
        role.check()
        self._role = role
        self._provider_arn = provider_arn
        self._token_file = token_file
        self._service = service
        self.name = f"oidc ({role.arn})"

    def obtain(self) -> Issued:
        try:
            with open(self._token_file, "rb") as file:
                token = file.read(MAX_DOCUMENT).decode("ascii").strip()
        except OSError as error:
            message = f"the OIDC token {self._token_file} cannot be read: {error.strerror or error}"
            raise CredentialsError(message) from None
        except UnicodeDecodeError:
            raise CredentialsError(f"{self._token_file} holds no OIDC token") from None
        if not token:
            raise CredentialsError(f"the OIDC token {self._token_file} is empty")
        body = self._role.parameters() | {"OIDCProviderArn": self._provider_arn, "OIDCToken": token}
        return _call(self._service, _common("AssumeRoleWithOIDC"), body, f"the role {self._role.arn}")


def signature(method: str, parameters: Mapping[str, str], credentials: Credentials) -> str:
    """Signature of version 1.0 of an RPC-style call, over the parameters of the query and of the form together."""
    canonical = "&".join(f"{_quoted(name)}={_quoted(parameters[name])}" for name in sorted(parameters))
    text = f"{method}&{_quoted('/')}&{_quoted(canonical)}"
    return base64.b64encode(hmac.digest(f"{credentials.access_key_secret}&".encode(), text.encode(), "sha1")).decode()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _common(action: str) -> dict[str, str]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"Action": action, "Version": _VERSION, "Format": "JSON", "Timestamp": now}


def _call(service: Service, query: Mapping[str, str], body: Mapping[str, str], what: str) -> Issued:
    """The parameters of the role go into the form: a URL stands in the logs of proxies."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    reply = ask(service, "POST", "/?" + urlencode(query), headers, urlencode(body).encode())
    try:
        document = json.loads(reply.body)
        if not isinstance(document, dict):
            raise ValueError
    except ValueError:  # a proxy's or a gateway's own page
        raise Temporary(f"STS at {service.origin} answers HTTP {reply.status} without JSON") from None
    if reply.status != 200:
        code, message = str(document.get("Code", "")), str(document.get("Message", ""))
        code = code if _CODE.fullmatch(code) else masked(code)
        kind = Temporary if reply.status >= 500 or reply.status == 429 or code.startswith("Throttling") else CredentialsError
        raise kind(f"STS refuses {what}: HTTP {reply.status} {code} ({masked(message)})")
    credentials = document.get("Credentials")
    if not isinstance(credentials, dict):
        raise CredentialsError(f"STS at {service.origin} answers without credentials for {what}")
    return issued_of(credentials, f"STS's answer for {what}")
