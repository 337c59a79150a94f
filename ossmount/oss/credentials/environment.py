"""Access keys in environment variables."""

from __future__ import annotations

from collections.abc import Mapping

from ossmount.config import Credentials
from ossmount.oss.credentials.documents import check_text
from ossmount.oss.credentials.interface import CredentialsError, Fixed, NotConfigured

#: Names of id, secret and token: OSS's own go before those of all of Alibaba Cloud's tools.
FAMILIES = (
    ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SECURITY_TOKEN"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)


def environment_provider(environ: Mapping[str, str]) -> Fixed:
    """The first family of variables that is set. Raises NotConfigured, and CredentialsError for one that is set in part."""
    for names in FAMILIES:
        values = [environ.get(name, "").strip() for name in names]
        if not any(values):
            continue
        for name, value in zip(names[:2], values, strict=False):
            if not value:
                there = next(other for other, given in zip(names, values, strict=True) if given)
                raise CredentialsError(f"{there} is set but {name} is not")
        for name, value in zip(names, values, strict=True):
            check_text(name, value)
        return Fixed(f"env ({names[0]})", Credentials(*values))
    raise NotConfigured(" and ".join(names[0] for names in FAMILIES) + " are not set")
