"""Modules that are loaded when something of them is used."""

from __future__ import annotations

import subprocess
import sys

import pytest


SETUP = "import sys; from mooring.lazy import Finder; sys.meta_path.insert(0, Finder())"


@pytest.mark.parametrize(
    "code",
    [
        "import ssl, asyncio.base_events; import ssl; assert '_ssl' not in sys.modules",
        "import ssl; ssl.SSLContext; assert '_ssl' in sys.modules",
        "from ssl import SSLContext; assert '_ssl' in sys.modules",
        "import ctypes.util; assert '_ctypes' not in sys.modules; ctypes.util.find_library; ctypes.c_int",
        "import ctypes; assert ctypes.__version__",
        "from token import *; assert NAME",
        "import token; assert token.__spec__.name == 'token' and token.__file__; assert token.NAME and dir(token)",
        "import token; token.NAME; assert not hasattr(token, 'nothing') and not hasattr(token, '__nothing__')",
    ],
)
def test_a_module_is_loaded_when_something_of_it_is_used(code: str) -> None:
    subprocess.run([sys.executable, "-c", f"{SETUP}; {code}"], check=True)


def test_what_a_module_does_not_have_is_an_error_like_any_other() -> None:
    command = [sys.executable, "-c", f"{SETUP}; import token; token.nothing"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == "AttributeError: module 'token' has no attribute 'nothing'"
