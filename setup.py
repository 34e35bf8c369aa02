"""What pyproject.toml cannot say: the settings of the known base models stand in conf/, which both doors read, and go
into the package too, so that the `lorakiln` command finds them where there is no checkout.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODELS = Path("conf/model")
EMBEDDED = "tiny"  # its weights are the checkout's


class WithModels(build_py):
    """build_py, and conf/model beside the package's modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout is there
            return
        target = Path(self.build_lib) / "lorakiln" / MODELS
        self.mkpath(str(target))
        for file in sorted(MODELS.glob("*.yaml")):
            if file.stem != EMBEDDED:
                self.copy_file(str(file), str(target / file.name))


setup(cmdclass={"build_py": WithModels})
