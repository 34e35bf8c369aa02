"""Config files as people may write them; Hydra skips this module, by its name, when it looks for plug-ins."""

import os
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra.plugins.config_source import ConfigResult

from lorakiln.schema.strict_yaml import read_yaml


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's source of files, which has each of them pass `read_yaml` first: one of aliases of aliases would hang.

    Hydra registers its own again now and then, and leaves what is there alone if it has this name.

    Attributes:
        root: the folder that a config was read from last.
    """

    root: Path | None = None

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path))))
        FileConfigSource.root = Path(self.path)
        if path.exists():
            read_yaml(path)
        return super().load_config(config_path)
