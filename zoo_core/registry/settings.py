"""What the user has set once and for all: a small file in their configuration folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_config_path
from pydantic import ValidationError

from zoo_core.cards import FrozenModel
from zoo_core.disk.atomic import atomic_write, disk_errors
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import UsageError
from zoo_core.registry.pydantic_errors import describe

MAX_BYTES = 1_000_000  # of the file


class UserSettings(FrozenModel):
    """What the file holds."""

    disabled: tuple[str, ...] = ()  # distributions whose plugins are not imported, by normalised name


@dataclass(frozen=True)
class UserConfig:
    """The user's configuration, in one file."""

    path: Path

    @classmethod
    def default(cls) -> UserConfig:
        """Return the user's: below $ZOO_CONFIG, else below the platform's configuration folder."""
        folder = os.environ.get("ZOO_CONFIG")
        return cls((Path(folder) if folder else user_config_path("zoo")) / "config.json")

    def settings(self) -> UserSettings:
        """Read the file; without one, nothing is set.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                _, fields = load_document(file.read(MAX_BYTES))
            return UserSettings.model_validate_json(json.dumps(fields))
        except FileNotFoundError:
            return UserSettings()
        except (OSError, ValueError, RecursionError) as error:
            why = describe(error) if isinstance(error, ValidationError) else str(error)
            raise UsageError(f"{self.path} cannot be read", why=why, fix=f"mend or delete {self.path}") from error

    def disable(self, distribution: str) -> None:
        """Have a distribution's plugins not imported any more; raises UsageError and ResourceError."""
        self._change(lambda disabled: disabled | {distribution})

    def enable(self, distribution: str) -> None:
        """Have a distribution's plugins imported again; raises UsageError and ResourceError."""
        self._change(lambda disabled: disabled - {distribution})

    def _change(self, change: Callable[[set[str]], set[str]]) -> None:
        from filelock import FileLock  # every command reads this file, and few write it

        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):  # two commands at once: neither's change is lost
                disabled = tuple(sorted(change(set(self.settings().disabled))))
                atomic_write(self.path, dump_document({"disabled": disabled}))
