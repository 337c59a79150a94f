"""The RAM role of an ECS instance, as the instance's metadata service issues it.

Source: ECS documentation, "Instance RAM roles" and "Instance metadata" (security hardening mode): a token is fetched by PUT
and sent along with every question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ossmount.oss.credentials.documents import parse_document
from ossmount.oss.credentials.http import Service, Unreachable, ask
from ossmount.oss.credentials.interface import CredentialsError, Issued, NotConfigured, Remote, Temporary

_TOKEN = "/latest/api/token"
_ROLES = "/latest/meta-data/ram/security-credentials/"
_REGION = "/latest/meta-data/region-id"
_TOKEN_TTL = "60"  # seconds; a token is used for the questions of one renewal
_NO_TOKENS = (404, 405)  # of a service, or of what stands in for it, that knows no hardening mode
_REGION_ID = re.compile(r"[a-z]{2,}-[a-z0-9-]{1,60}")
_ROLE = re.compile(r"[A-Za-z0-9.@_-]{1,64}")


def region_of(origin: str, environ: Mapping[str, str]) -> str:
    """The region of this machine, as in cn-hangzhou; "" where it is no ECS instance or may not be asked. 2 s at most."""
    if environ.get("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "").lower() in ("true", "1"):
        return ""
    try:
        return EcsProvider(origin, "", environ, certain=False, connect=0.5, read=0.5).region()
    except CredentialsError:
        return ""


class EcsProvider(Remote):
    """Asks for the credentials of the instance's role; the service itself renews them long before they expire."""

    def __init__(
        self,
        origin: str,
        role: str,
        environ: Mapping[str, str],
        *,
        certain: bool = True,
        connect: float = 1.0,
        read: float = 5.0,
    ) -> None:
        """role: "" asks the service for its name. certain: somebody said that this is an ECS instance; else it is NotConfigured
        where nothing answers. connect, read: seconds to wait at most. Raises CredentialsError for a name that is none.
        """
        if role and not _ROLE.fullmatch(role):
            raise CredentialsError(f"{role!r} is no name of a RAM role: letters, digits, '.', '@', '_' and '-'")
        self._service = Service("the ECS metadata service", origin.rstrip("/"), connect=connect, read=read)
        self._role = role
        self._certain = certain
        self._hardened_only = environ.get("ALIBABA_CLOUD_IMDSV1_DISABLED", "").lower() in ("true", "1")
        self.name = f"ecs (role {role})" if role else "ecs"

    def obtain(self) -> Issued:
        try:
            headers = self._token()
        except Unreachable as error:
            if self._certain:
                raise
            raise NotConfigured(str(error)) from None
        self._certain = True
        role = self._role or self._find_role(headers)
        data = self._get(_ROLES + role, headers, f"the RAM role {role}")
        issued = parse_document(data, f"the metadata service's answer for the role {role}")
        self.name = f"ecs (role {role})"
        return issued

    def region(self) -> str:
        """The region of the instance. Raises CredentialsError."""
        text = self._get(_REGION, self._token(), "a region").decode("ascii", "replace").strip()
        if not _REGION_ID.fullmatch(text):
            raise CredentialsError("the ECS metadata service names no region")
        return text

    def _token(self) -> dict[str, str]:
        asked = {"X-aliyun-ecs-metadata-token-ttl-seconds": _TOKEN_TTL}
        reply = ask(self._service, "PUT", _TOKEN, asked)
        if reply.status in _NO_TOKENS and not self._hardened_only:
            return {}
        token = reply.body.decode("ascii", "replace").strip()
        if reply.status != 200 or not token.isprintable() or not token.isascii():
            kind = Temporary if reply.status >= 500 or reply.status == 429 else CredentialsError
            raise kind(f"the ECS metadata service gives no token for the hardening mode: HTTP {reply.status}")
        return {"X-aliyun-ecs-metadata-token": token}

    def _find_role(self, headers: Mapping[str, str]) -> str:
        roles = self._get(_ROLES, headers, "a RAM role").decode("ascii", "replace").split()
        if not roles or not _ROLE.fullmatch(roles[0]):
            raise NotConfigured("no RAM role is attached to this ECS instance")
        return roles[0]

    def _get(self, target: str, headers: Mapping[str, str], what: str) -> bytes:
        reply = ask(self._service, "GET", target, headers)
        if reply.status == 404:
            raise NotConfigured(f"{what} is not attached to this ECS instance (HTTP 404)")
        if reply.status != 200:
            kind = Temporary if reply.status >= 500 or reply.status == 429 else CredentialsError
            raise kind(f"the ECS metadata service answers HTTP {reply.status} for {what}")
        return reply.body
