"""The user's settings: a small file in their configuration folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from platformdirs import user_config_path
from pydantic import ValidationError

from zoo_core.cards.fields import FrozenModel
from zoo_core.disk.atomic import atomic_write, disk_errors
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import UsageError
from zoo_core.registry.pydantic_errors import describe

MAX_FILE_BYTES = 1_000_000


class UserSettings(FrozenModel):
    """The content of the file."""

    disabled: tuple[str, ...] = ()  # normalized names of distributions whose plugins are not imported


@dataclass(frozen=True)
class UserConfig:
    """The file with the user's settings."""

    path: Path

    @classmethod
    def default(cls) -> UserConfig:
        """Return the file in $ZOO_CONFIG, where "~" is expanded, else in the platform's configuration folder."""
        folder = os.environ.get("ZOO_CONFIG")
        return cls((Path(folder).expanduser() if folder else user_config_path("zoo")) / "config.json")

    def settings(self) -> UserSettings:
        """Read the file; a missing file means defaults.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                _, fields = load_document(file.read(MAX_FILE_BYTES))
            return UserSettings.model_validate_json(json.dumps(fields))
        except FileNotFoundError:
            return UserSettings()
        except (OSError, ValueError, RecursionError) as error:
            why = describe(error) if isinstance(error, ValidationError) else str(error)
            raise UsageError(f"{self.path} cannot be read", why=why, fix=f"rm {quote(str(self.path))}") from error

    def disable(self, distribution: str) -> None:
        """Disable a distribution's plugins: they are not imported. Raises UsageError and ResourceError."""
        self._change(lambda disabled: disabled | {distribution})

    def enable(self, distribution: str) -> None:
        """Enable a distribution's plugins again. Raises UsageError and ResourceError."""
        self._change(lambda disabled: disabled - {distribution})

    def _change(self, change: Callable[[set[str]], set[str]]) -> None:
        from filelock import FileLock  # imported here because few commands write settings

        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):  # no change of concurrent commands is lost
                disabled = tuple(sorted(change(set(self.settings().disabled))))
                atomic_write(self.path, dump_document({"disabled": disabled}))
