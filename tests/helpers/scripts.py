"""The programs that documents call by their path, for tests to import: ``from scripts import promised``.

Their folder is not one to import from: each folder of tests in it would be found as a package, such as ``models``.
"""

import importlib.util
import sys
from types import ModuleType

from places import TESTS


def __getattr__(name: str) -> ModuleType:
    path = TESTS / f"{name}.py"
    if not path.is_file():
        raise AttributeError(name)
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
