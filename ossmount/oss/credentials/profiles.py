"""Profiles of the tools that people have configured already: the aliyun CLI's and ossutil's."""

from __future__ import annotations

import configparser
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from ossmount.config import Credentials
from ossmount.oss.credentials.documents import check_text
from ossmount.oss.credentials.files import WatchedFile
from ossmount.oss.credentials.http import Service
from ossmount.oss.credentials.interface import CredentialsError, Fixed, Issued, NotConfigured, Provider
from ossmount.oss.credentials.process import ProcessProvider
from ossmount.oss.credentials.sts import AssumeRoleProvider, OidcProvider, Role

Fields = Mapping[str, object]

_MODES = "AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, OIDC, External, CredentialsURI, CloudSSO and OAuth"
_DEPTH = 5  # profiles behind one another in source_profile


class ProfileProvider:
    """A profile of ~/.aliyun/config.json, as `aliyun configure` writes it.

    The file is read at each renewal, and when it has changed. Source: documentation of the Alibaba Cloud CLI, "Configure
    credentials".
    """

    renewable = True
    watched = True

    def __init__(
        self,
        path: Path,
        profile: str,
        ecs: Callable[[str], Provider],
        sts: Callable[[str], Service],
        sdk: Callable[..., Provider],
    ) -> None:
        """profile: "" takes the current one. ecs: asks for an instance's role; sts: where STS is for a region ("": ours); sdk:
        takes the arguments of SdkProvider, profile or uri."""
        self._file = WatchedFile(path, "the aliyun CLI's configuration")
        self._profile = profile
        self._ecs = ecs
        self._sts = sts
        self._sdk = sdk
        self.name = f"profile ({profile or 'current'} of {path})"

    def obtain(self) -> Issued:
        try:
            document = json.loads(self._file.read())
            profiles = {str(each["name"]): each for each in document["profiles"]}
            wanted = self._profile or str(document.get("current", "default"))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CredentialsError(f"{self._file.where} is not as `aliyun configure` writes it") from None
        issued = self._provider(profiles, wanted, _DEPTH).obtain()
        self.name = f"profile ({wanted} of {self._file.path})"
        return issued

    def changed(self) -> bool:
        return self._file.changed()

    def _provider(self, profiles: Mapping[str, Fields], name: str, depth: int) -> Provider:
        where = f"the profile {name!r} in {self._file.path}"
        fields = profiles.get(name)
        if not isinstance(fields, Mapping):
            known = ", ".join(sorted(profiles)) or "none"
            raise CredentialsError(f"{self._file.where} has no profile {name!r}; it has {known}")
        mode = _text(fields, "mode") or "AK"
        if mode in ("AK", "StsToken"):
            return Fixed(f"profile ({name})", _keys(fields, where, token=mode == "StsToken"))
        if mode == "EcsRamRole":
            return self._ecs(_text(fields, "ram_role_name"))
        if mode == "External":
            words = shlex.split(_needed(fields, "process_command", where))
            if not words:
                raise CredentialsError(f"{where} has an empty process_command")
            return ProcessProvider(words)
        if mode == "RamRoleArn":
            token = bool(_text(fields, "sts_token"))
            base: Provider = Fixed(f"profile ({name})", _keys(fields, where, token=token))
            return AssumeRoleProvider(base, _role(fields, where), self._sts(_text(fields, "sts_region")))
        if mode == "ChainableRamRoleArn":
            if not depth:
                raise CredentialsError(f"{where}: source_profile leads from one to the next without end")
            base = self._provider(profiles, _needed(fields, "source_profile", where), depth - 1)
            return AssumeRoleProvider(base, _role(fields, where), self._sts(_text(fields, "sts_region")))
        if mode == "OIDC":
            issuer, token_file = (_needed(fields, field, where) for field in ("oidc_provider_arn", "oidc_token_file"))
            return OidcProvider(_role(fields, where), issuer, Path(token_file), self._sts(_text(fields, "sts_region")))
        if mode == "CredentialsURI":
            return self._sdk(uri=_needed(fields, "credentials_uri", where))
        if mode in ("CloudSSO", "OAuth"):
            return self._sdk(profile=(self._file.path, name))
        raise NotConfigured(f"{where} has the mode {mode}, of which ossmount has no use: it takes {_MODES}")


class OssutilProvider:
    """The access key in ~/.ossutilconfig: `[Credentials]` of ossutil 1, `[default]` of ossutil 2.

    Source: OSS documentation, "Configure ossutil": names in any case of letters, with hyphens, underscores or neither.
    """

    renewable = True
    watched = True

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "ossutil's configuration")
        self.name = f"ossutil ({path})"

    def obtain(self) -> Issued:
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True, default_section="-")
        parser.optionxform = lambda name: name.lower().replace("-", "").replace("_", "")  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(self._file.read().decode())
        except (configparser.Error, UnicodeDecodeError):
            raise CredentialsError(f"{self._file.where} is no INI file") from None
        for section in parser.sections():
            if section.lower() not in ("credentials", "default", "profile default"):
                continue
            fields = {name: (value or "").strip() for name, value in parser.items(section)}
            if fields.get("accesskeyid"):
                spelled = {"access_key_id": "accesskeyid", "access_key_secret": "accesskeysecret", "sts_token": "ststoken"}
                known = {name: fields.get(spelling, "") for name, spelling in spelled.items()}
                return Issued(_keys(known, self._file.where, token=bool(known["sts_token"])))
        raise NotConfigured(f"{self._file.where} holds no access key")

    def changed(self) -> bool:
        return self._file.changed()


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _needed(fields: Fields, name: str, where: str) -> str:
    value = _text(fields, name)
    if not value:
        raise CredentialsError(f"{where} has no {name}")
    return value


def _keys(fields: Fields, where: str, *, token: bool) -> Credentials:
    names = ("access_key_id", "access_key_secret", *(("sts_token",) if token else ()))
    if not any(_text(fields, name) for name in names):  # as the tool makes it when it is first run
        raise NotConfigured(f"{where} holds no access key")
    return Credentials(*(check_text(f"{name} of {where}", _needed(fields, name, where)) for name in names))


def _role(fields: Fields, where: str) -> Role:
    seconds = fields.get("expired_seconds")
    return Role(
        _needed(fields, "ram_role_arn", where),
        _text(fields, "ram_session_name") or _text(fields, "role_session_name"),
        seconds if type(seconds) is int else 0,
        _text(fields, "external_id"),
        _text(fields, "policy"),
    )
