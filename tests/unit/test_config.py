"""What configurations show of themselves."""

from __future__ import annotations

from ossmount.config import Credentials, CredentialsConfig


def test_no_secret_is_shown() -> None:
    credentials = Credentials("the-id", "the-secret", "the-token")
    config = CredentialsConfig(profile="mine", environ={"OSS_ACCESS_KEY_SECRET": "the-secret"})
    for shown in (f"{credentials}", repr([credentials]), f"{config!r}", repr({"config": config})):
        assert "the-id" in shown or "mine" in shown
        assert "the-secret" not in shown and "the-token" not in shown
