"""The fixtures of the forms' tests serve here too."""

from tests.lora_files.conftest import adapter, family

__all__ = ["adapter", "family"]
