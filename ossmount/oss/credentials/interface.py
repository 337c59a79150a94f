"""What every source of credentials is: a blocking call that gives them, made in a thread."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ossmount.config import Credentials


class CredentialsError(Exception):
    """No credentials could be had; the message says from where and why, and never shows a secret."""


class NotConfigured(CredentialsError):
    """This source was not set up, so that the next one is asked."""


class Temporary(CredentialsError):
    """The same may work a moment later: a service that does not answer, or has too much to do."""


class Issued(NamedTuple):
    """Credentials and how long they are valid."""

    credentials: Credentials
    expires: float | None = None  # seconds since the epoch; None: never, or unknown


class Provider(Protocol):
    """One source of credentials. Called from one thread at a time."""

    @property
    def name(self) -> str:
        """For people: what was asked, such as `ecs (role trainer)`."""
        ...

    @property
    def renewable(self) -> bool:
        """Whether obtain() may give others later than it gave now."""
        ...

    @property
    def watched(self) -> bool:
        """Whether changed() is worth being asked every second."""
        ...

    def obtain(self) -> Issued:
        """The credentials as they are now; blocks, for some seconds at most. Raises CredentialsError."""
        ...

    def changed(self) -> bool:
        """Whether obtain() would likely give others than it gave last; costs next to nothing."""
        ...


class Fixed:
    """Credentials that were there from the beginning and stay."""

    renewable = False
    watched = False

    def __init__(self, name: str, credentials: Credentials) -> None:
        self.name = name
        self._issued = Issued(credentials)

    def obtain(self) -> Issued:
        return self._issued

    def changed(self) -> bool:
        return False


class Remote:
    """What services and programs have in common: they are asked again when their credentials expire, and not watched."""

    renewable = True
    watched = False

    def changed(self) -> bool:
        return False
