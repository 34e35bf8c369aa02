"""ONNX files of the user's, which prepare runs on pictures: loading them, and what is told where one cannot be used."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.console.errors import UserError
from lorakiln.libraries import import_onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class OnnxFile:
    """A file with a network of one input and of some form. It can be sent to other processes, which load it again.

    Attributes:
        setting: what names it.
        path: as it is named there.
        kind, form: what it is to be, and what that takes and gives, in words.
        identity: equal for files that compute the same.
    """

    setting: str
    path: str
    kind: str
    form: str
    identity: str = ""

    @classmethod
    def of(cls, setting: str, named: str, kind: str, form: str) -> "OnnxFile":
        """
        Raises:
            UserError: the file is not there, or onnxruntime is not installed.
        """
        path = Path(named).expanduser()
        if not path.is_file():
            raise UserError("no such file", where=f"{setting}={named}", fix=f"name {form}")
        identity = hash_data(hash_file(path), import_onnxruntime(setting).__version__)
        return cls(setting, str(path), kind, form, identity)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of its input; a side that is not fixed is a name or None.

        Raises:
            UserError: it cannot be read, or is of another form.
        """
        inputs = _load(self).get_inputs()
        shapes = ", ".join(f"{one.name} {tuple(one.shape)} {one.type}" for one in inputs)
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            raise self.refuse(f"its inputs are {shapes}")
        return tuple(inputs[0].shape)

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """All outputs for an input, float32 whatever the network computes in.

        Raises:
            UserError: it fails.
        """
        session = _load(self)
        (given,) = session.get_inputs()
        values = np.ascontiguousarray(values, dtype=TYPES[given.type])
        try:
            outputs = session.run(None, {given.name: values})
        except Exception as error:  # the library's own kinds, which are many
            raise self.refuse(f"it fails: {str(error).splitlines()[0]}") from error
        return [np.asarray(one, dtype=np.float32) for one in outputs]

    def refuse(self, what: str) -> UserError:
        """What to raise about it."""
        return UserError(
            f"no {self.kind} that can be used: {what}", where=f"{self.setting}={self.path}", fix=f"name {self.form}"
        )


@lru_cache(maxsize=4)
def _load(file: OnnxFile) -> Any:
    """Its session, on one thread of the processor: pictures are shared out among processes already."""
    library = import_onnxruntime(file.setting)
    options = library.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return library.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as in run
        raise file.refuse(f"it cannot be read: {str(error).splitlines()[0]}") from error
