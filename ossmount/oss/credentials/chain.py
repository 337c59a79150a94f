"""Which sources are asked, in which order, and what is said when none has credentials.

Every source but the environment is imported when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ossmount.config import CredentialsConfig
from ossmount.oss.credentials.environment import environment_provider
from ossmount.oss.credentials.http import Proxy, Service
from ossmount.oss.credentials.interface import CredentialsError, Issued, NotConfigured, Provider

DEFAULT_FILE = Path("/mnt/.alibabacloud/credentials")
ADVICE = (
    "set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, or give --credentials FILE; "
    "for a bucket that everybody may read give --anonymous"
)

#: Set by the webhook of RRSA in each pod, and a name for the session.
ROLE_VARIABLES = (
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    "ALIBABA_CLOUD_ROLE_SESSION_NAME",
)
_REGION_ENDPOINT = re.compile(r"(?:[a-z0-9-]+\.)?oss-(?!accelerate)([a-z0-9-]+?)(-internal)?\.aliyuncs\.com")

Make = Callable[[], Provider]


class Chain:
    """The first source that has credentials; it is the only one from then on."""

    def __init__(self, sources: Sequence[tuple[str, Make]]) -> None:
        self._sources = list(sources)
        self._chosen: Provider | None = None

    @property
    def name(self) -> str:
        return self._chosen.name if self._chosen is not None else "none yet"

    @property
    def renewable(self) -> bool:
        return self._chosen is None or self._chosen.renewable

    @property
    def watched(self) -> bool:
        return self._chosen is not None and self._chosen.watched

    def changed(self) -> bool:
        return self._chosen is not None and self._chosen.changed()

    def obtain(self) -> Issued:
        if self._chosen is not None:
            return self._chosen.obtain()
        tried: list[str] = []
        for name, make in self._sources:
            try:
                provider = make()
                issued = provider.obtain()
            except NotConfigured as error:
                tried.append(f"{name}: {error}")
                continue
            except CredentialsError as error:
                raise type(error)(f"{name}: {error}") from None
            self._chosen = provider
            return issued
        if len(self._sources) == 1:
            raise CredentialsError(f"no credentials from {tried[0]}")
        raise CredentialsError("\n  ".join(["no credentials: " + ADVICE + ". What was tried:", *tried]))


def chain(config: CredentialsConfig) -> Chain:
    """The sources of a configuration, in order."""
    makers = _Makers(config)
    if config.source != "auto":
        return Chain([(config.source, makers.of(config.source))])
    named = {"file": config.file, "process": config.process, "profile": config.profile, "ecs": config.ram_role_name}
    chosen = [source for source, given in named.items() if given]
    order = chosen or ["env", "oidc", "file", "profile", "ossutil", "sdk", "ecs"]
    return Chain([(source, makers.of(source)) for source in order])


class _Makers:
    """Makes each source from the configuration. Raises NotConfigured, CredentialsError."""

    def __init__(self, config: CredentialsConfig) -> None:
        self._config = config
        self._home = Path(config.environ.get("HOME") or "~").expanduser()
        self._profiles = self._home / ".aliyun" / "config.json"

    def of(self, source: str) -> Make:
        makers: dict[str, Make] = {
            "env": self._env,
            "file": self._file,
            "process": self._process,
            "oidc": self._oidc,
            "profile": self._profile,
            "ossutil": self._ossutil,
            "sdk": self._sdk,
            "ecs": self._ecs,
        }
        make = makers[source]
        if source == "oidc" or not self._config.ram_role_arn:
            return make
        return lambda: self._assuming(make())

    def _assuming(self, base: Provider) -> Provider:
        from ossmount.oss.credentials.sts import AssumeRoleProvider, Role

        return AssumeRoleProvider(base, Role(self._config.ram_role_arn, self._config.role_session_name), self._sts())

    def _env(self) -> Provider:
        return environment_provider(self._config.environ)

    def _file(self) -> Provider:
        from ossmount.oss.credentials.files import FileProvider

        return FileProvider(self._config.file or _existing(DEFAULT_FILE))

    def _process(self) -> Provider:
        from ossmount.oss.credentials.process import ProcessProvider

        if not self._config.process:
            raise NotConfigured("--credential-process was not given")
        return ProcessProvider(self._config.process)

    def _oidc(self) -> Provider:
        from ossmount.oss.credentials.sts import OidcProvider, Role

        arn, issuer, token_file, session = (self._config.environ.get(name, "") for name in ROLE_VARIABLES)
        given = (self._config.ram_role_arn or arn, issuer, token_file)
        missing = [name for name, value in zip(ROLE_VARIABLES, given, strict=False) if not value]
        if missing:
            raise NotConfigured(f"not set: {', '.join(missing)}")
        role = Role(given[0], self._config.role_session_name or session)
        return OidcProvider(role, issuer, Path(token_file), self._sts())

    def _profile(self) -> Provider:
        from ossmount.oss.credentials.profiles import ProfileProvider

        environ = self._config.environ
        for name in ("ALIBABA_CLOUD_IGNORE_PROFILE", "ALIBABA_CLOUD_CLI_PROFILE_DISABLED"):
            if not self._config.profile and _true(environ, name):
                raise NotConfigured(f"{name} is set")
        path = self._profiles
        profile = self._config.profile or environ.get("ALIBABA_CLOUD_PROFILE", "")
        return ProfileProvider(path if profile else _existing(path), profile, self._ecs_role, self._sts, self._asking_sdk)

    def _ossutil(self) -> Provider:
        from ossmount.oss.credentials.profiles import OssutilProvider

        return OssutilProvider(_existing(self._home / ".ossutilconfig"))

    def _sdk(self) -> Provider:
        from ossmount.oss.credentials.sdk import INI, VARIABLES

        if self._config.source == "sdk":
            return self._asking_sdk(profile=(self._profiles, self._config.profile) if self._config.profile else None)
        if not any(self._config.environ.get(name) for name in VARIABLES) and not (self._home / INI).exists():
            raise NotConfigured(f"{' and '.join(VARIABLES)} are not set, {self._home / INI} does not exist")
        return self._asking_sdk()

    def _asking_sdk(self, *, profile: tuple[Path, str] | None = None, uri: str = "") -> Provider:
        from ossmount.oss.credentials.sdk import SdkProvider

        return SdkProvider(self._config.environ, profile=profile, uri=uri, proxy=self._config.proxy)

    def _ecs(self) -> Provider:
        from ossmount.oss.credentials.metadata_service import EcsProvider

        if _true(self._config.environ, "ALIBABA_CLOUD_ECS_METADATA_DISABLED"):
            raise NotConfigured("ALIBABA_CLOUD_ECS_METADATA_DISABLED is set")
        role = self._config.ram_role_name or self._config.environ.get("ALIBABA_CLOUD_ECS_METADATA", "")
        certain = bool(role) or self._config.source == "ecs"
        return EcsProvider(self._config.metadata_endpoint, role, self._config.environ, certain=certain)

    def _ecs_role(self, role: str) -> Provider:
        from ossmount.oss.credentials.metadata_service import EcsProvider

        return EcsProvider(self._config.metadata_endpoint, role, self._config.environ)

    def _sts(self, region: str = "") -> Service:
        """region: of a profile; "" takes the configuration's."""
        from ossmount.oss.credentials.sts import sts_service

        service = sts_service(f"https://sts.{region}.aliyuncs.com" if region else self._config.sts_endpoint)
        return service._replace(proxy=self._proxy(service.origin))

    def _proxy(self, origin: str) -> Proxy | None:
        from ossmount.oss.endpoint import parse_endpoint
        from ossmount.oss.fetch.proxies import proxy_of

        try:
            return proxy_of(parse_endpoint(origin, "sts", path_style=True), self._config.proxy, self._config.environ)
        except ValueError as error:
            raise CredentialsError(str(error)) from None


def sts_origin(endpoint: str, region: str) -> str:
    """Where STS is for a bucket: in its region, and inside the VPC where the bucket is asked through its internal endpoint.

    Source: RAM documentation, "Endpoints" of STS.
    """
    host = endpoint.rpartition("://")[2].rstrip("/").lower()
    found = _REGION_ENDPOINT.fullmatch(host)
    region = region.removeprefix("oss-") or (found[1] if found else "")
    if not region:
        return "https://sts.aliyuncs.com"
    return f"https://sts{'-vpc' if found and found[2] else ''}.{region}.aliyuncs.com"


def _existing(path: Path) -> Path:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise NotConfigured(f"{path} does not exist") from None
    except OSError as error:
        raise NotConfigured(f"{path} cannot be looked at: {error.strerror}") from None
    return path


def _true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in ("true", "1")
