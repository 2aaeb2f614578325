"""How a server is reached: its address, its key, and the limits of a client."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from latechunk_integrations.errors import AuthenticationError, OptionError
from latechunk_integrations.options import LateChunkOptions

DEFAULT_CONCURRENCY = 8
"""Requests in flight where neither the options nor the service say."""


@dataclass(frozen=True)
class HttpSettings:
    """How a server is reached.

    Args:
        base_url: Its address; a path in it stays in front of every call's path.
        key_variable: Environment variable that holds the key where no key is given.
        api_key: The key; it is left out of pickles.
        timeout_seconds: Longest wait for one attempt, from its start to the answer's last byte.
        max_retries: Further attempts where a failure may pass.
        max_concurrency: Most requests in flight.
        first_wait_seconds: Upper bound of the random wait before the second attempt; it
            doubles with each further one, up to a minute.
    """

    base_url: str
    key_variable: str
    api_key: SecretStr | None = None
    timeout_seconds: float = 120.0
    max_retries: int = 5
    max_concurrency: int = DEFAULT_CONCURRENCY
    first_wait_seconds: float = 0.5

    @classmethod
    def from_options(
        cls,
        options: LateChunkOptions,
        *,
        base_url: str | None,
        key_variable: str,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> HttpSettings:
        """The settings that options ask for.

        Args:
            options: What the engine was asked for.
            base_url: The service's own address; None: there is none.
            key_variable: Environment variable that may hold the key.
            concurrency: Requests in flight where the options do not say.

        Raises:
            OptionError: There is no address.
        """
        address = options.base_url or base_url
        if address is None:
            raise OptionError(
                f"encoder={options.encoder!r} needs base_url, the address of the server, such as "
                "http://localhost:8080"
            )
        return cls(
            base_url=address.rstrip("/"),
            key_variable=key_variable,
            api_key=options.api_key,
            timeout_seconds=options.timeout_seconds,
            max_retries=options.max_retries,
            max_concurrency=options.max_concurrency or concurrency,
        )

    def key(self) -> SecretStr | None:
        """The key that was given, else the one in the environment, else None.

        White space around it, such as the line end of the file that it was read from, is no part
        of it.

        Raises:
            AuthenticationError: It holds what no header can; the error does not show it.
        """
        if self.api_key is not None:
            source, value = "api_key", self.api_key.get_secret_value()
        else:
            source, value = self.key_variable, os.environ.get(self.key_variable, "")
        value = value.strip()
        if not (value.isascii() and value.isprintable()):
            raise AuthenticationError(
                f"the key in {source} holds a line end or another character that no key has; "
                "check where it was copied from"
            )
        return SecretStr(value) if value else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the key behind: what reads a pickle takes it from its own environment."""
        return {**vars(self), "api_key": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> HttpSettings:
        return replace(self)
