"""Modules that the packages import and a run does not use: they are loaded when something of them is.

Python 3.15's lazy imports (PEP 810) make this unnecessary, and reach further: `from … import …` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType


UNUSED = {
    *("asyncio.sslproto", "asyncio.staggered", "ctypes", "ctypes.util", "ntpath", "secrets", "shlex", "ssl", "token"),
    *("email.base64mime", "email.errors", "email.header", "email.quoprimime", "tokenize", "urllib.parse"),
    *("pydantic._internal._dataclasses", "pydantic._internal._discriminated_union"),
    *("structlog.stdlib", "structlog.threadlocal", "structlog.twisted", "structlog.types"),
}
_ASKED = {"__cached__", "__file__", "__path__"}
"""What the import system asks a module for that may not have it."""
_lock = RLock()


class Lazy(ModuleType):
    """A module that loads itself when it is asked for what it does not have yet.

    importlib's own LazyLoader loads a module at the second `import` of it already, which asks for its `__spec__`.
    """

    def __getattr__(self, name: str) -> object:
        """Load the module, unless it is only the import system that asks. Raises AttributeError."""
        if name not in _ASKED:
            with _lock:
                if (spec := self.__spec__) and spec.loader_state:
                    loader, spec.loader_state = spec.loader_state, None
                    loader.exec_module(self)
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class Finder:
    """Finds the modules of UNUSED as the next finder would, and loads nothing."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where a module is; None for those that are used."""
        spec = PathFinder.find_spec(name, path, target) if name in UNUSED else None
        if spec and spec.loader:
            spec.loader_state, spec.loader = spec.loader, self  # type: ignore[assignment] # as far as it has to be one
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, still without what it has."""
        return Lazy(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it at that."""
