"""From the user's options to credentials that are renewed."""

from __future__ import annotations

from collections.abc import Mapping

from ossmount.config import Credentials, CredentialsConfig
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options import declarations as options
from ossmount.options.settings import Settings
from ossmount.oss.credentials.chain import chain, sts_origin
from ossmount.oss.credentials.current import CurrentCredentials
from ossmount.oss.credentials.interface import CredentialsError, Fixed


def credentials_of(settings: Settings, environ: Mapping[str, str], *, later: bool = False) -> CurrentCredentials:
    """What requests are signed with. later: nobody waits for them, they are obtained once they are renewed in the background.

    Raises CommandError when there are none and --anonymous is not given.
    """
    if settings[options.ANONYMOUS]:
        current = CurrentCredentials(Fixed("anonymous", Credentials()))
    else:
        current = CurrentCredentials(chain(credentials_config(settings, environ)))
    if later:
        return current
    try:
        current.load()
    except CredentialsError as error:
        raise CommandError(ExitCode.REFUSED, str(error)) from None
    return current


def credentials_config(settings: Settings, environ: Mapping[str, str]) -> CredentialsConfig:
    sts = settings[options.STS_ENDPOINT]
    return CredentialsConfig(
        source=settings[options.CREDENTIALS_FROM],
        file=settings[options.CREDENTIALS],
        process=settings[options.CREDENTIAL_PROCESS],
        profile=settings[options.CREDENTIALS_PROFILE],
        ram_role_name=settings[options.RAM_ROLE_NAME],
        ram_role_arn=settings[options.RAM_ROLE_ARN],
        role_session_name=settings[options.ROLE_SESSION_NAME],
        sts_endpoint=sts or sts_origin(settings[options.ENDPOINT], settings[options.REGION]),
        metadata_endpoint=settings[options.ECS_METADATA_ENDPOINT],
        proxy=settings[options.PROXY],
        environ=environ,
    )
