"""The options that say where credentials come from. Access keys themselves are never options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossmount.options import units
from ossmount.options.declared.option import IDENTITY, Option

CREDENTIALS_FROM: Option[str] = Option(
    "credentials_from",
    IDENTITY,
    units.choice("auto", "env", "file", "process", "oidc", "profile", "ossutil", "sdk", "ecs"),
    "auto",
    "The one place where credentials are looked for. auto takes what the other options of this group name, else the first "
    "place that has some, in the order env, oidc, file, profile, ossutil, sdk, ecs.",
)
CREDENTIALS: Option[Path | None] = Option(
    "credentials",
    IDENTITY,
    units.PATH,
    None,
    "JSON file with AccessKeyId, AccessKeySecret and, for temporary ones, SecurityToken and Expiration (empty: never). It is "
    "read again when it changes and before the Expiration.",
    computed="/mnt/.alibabacloud/credentials where it exists",
)
CREDENTIAL_PROCESS: Option[tuple[str, ...]] = Option(
    "credential_process",
    IDENTITY,
    units.COMMAND,
    (),
    "Program, with its arguments, that prints such an object. It is run without a shell, for 30 s at most, and again before "
    "the Expiration.",
    computed="none",
)
CREDENTIALS_PROFILE: Option[str] = Option(
    "credentials_profile",
    IDENTITY,
    units.TEXT,
    "",
    "Profile of the aliyun CLI (~/.aliyun/config.json), of mode AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, "
    "OIDC or External; of mode CredentialsURI, CloudSSO or OAuth where Alibaba Cloud's SDK is installed.",
    computed="ALIBABA_CLOUD_PROFILE, else the current one",
)
RAM_ROLE_NAME: Option[str] = Option(
    "ram_role_name",
    IDENTITY,
    units.TEXT,
    "",
    "RAM role of this ECS instance, whose credentials its metadata service gives out.",
    computed="ALIBABA_CLOUD_ECS_METADATA, else the role that is attached",
)
RAM_ROLE_ARN: Option[str] = Option(
    "ram_role_arn",
    IDENTITY,
    units.TEXT,
    "",
    "Role to assume at STS with the credentials that were found, or with the pod's OIDC token: acs:ram::ACCOUNT:role/NAME.",
    computed="none; with an OIDC token ALIBABA_CLOUD_ROLE_ARN",
)
ROLE_SESSION_NAME: Option[str] = Option(
    "role_session_name",
    IDENTITY,
    units.TEXT,
    "",
    "Under which name the session of that role stands in the audit log.",
    computed="ossmount-HOSTNAME",
)
STS_ENDPOINT: Option[str] = Option(
    "sts_endpoint",
    IDENTITY,
    units.ORIGIN,
    "",
    "Where roles are assumed. https unless http:// is written.",
    computed="sts.REGION.aliyuncs.com, or sts-vpc.REGION.aliyuncs.com with an -internal endpoint",
    variables=("ALIBABA_CLOUD_STS_ENDPOINT",),
)
ECS_METADATA_ENDPOINT: Option[str] = Option(
    "ecs_metadata_endpoint",
    IDENTITY,
    units.ORIGIN,
    "http://100.100.100.200",
    "The metadata service of the ECS instance, or what stands in for it.",
)
ANONYMOUS: Option[bool] = Option(
    "anonymous", IDENTITY, units.BOOLEAN, False, "Send unsigned requests: for buckets that everybody may read."
)

#: Options that each name one source, and what credentials_from calls it.
NAMES_SOURCE: dict[Option[Any], str] = {
    CREDENTIALS: "file",
    CREDENTIAL_PROCESS: "process",
    CREDENTIALS_PROFILE: "profile",
    RAM_ROLE_NAME: "ecs",
}
