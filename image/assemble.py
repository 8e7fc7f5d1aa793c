"""Lays out one layer of the image as a tree of files. Runs in the build stage of the Dockerfile, on Debian's Python.

- `assemble.py system TREE`: the interpreter, with what it needs from Debian
- `assemble.py dependencies TREE BELOW`: what was installed from PyPI, on top of the tree BELOW
- `assemble.py mooring TREE`: Mooring
- `assemble.py alembic TREE BELOW…`: what was installed for Alembic, with more of the standard library, on top of the trees BELOW
"""  # noqa: INP001 - a script of the build

from __future__ import annotations

import importlib.util
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path


STDLIB = Path(sysconfig.get_path("stdlib"))
LIBRARIES = Path("/usr/lib") / sysconfig.get_config_var("MULTIARCH")
SITE = Path("usr/lib/python3/dist-packages")
PACKAGES = Path("var/lib/dpkg/status.d")
"""Where scanners for vulnerabilities look for Debian's packages in an image that has no package manager."""

# What of the standard library no service imports: games, editors, Python's own tests and installers, other systems.
NEVER = {
    *("antigravity", "curses", "idlelib", "pydoc_data", "this", "tkinter", "turtle", "turtledemo"),
    *("_distutils_system_mod", "ensurepip", "test", "venv"),
    *("_aix_support", "_android_support", "_apple_support", "_ios_support", "_osx_support", "nturl2path"),
}
# And what Mooring does not import either, nor what imports one of these first of all. Alembic's revisions are programs, and may.
LEFT_OUT = NEVER | {
    # people at a terminal
    *("_pyrepl", "bdb", "cmd", "code", "codeop", "pdb", "pydoc", "rlcompleter", "webbrowser"),
    # those who write, test, measure or install programs
    *("cProfile", "compileall", "doctest", "modulefinder", "pickletools", "profile", "pstats", "pyclbr"),
    *("symtable", "tabnanny", "timeit", "trace", "unittest", "zipapp"),
    # programs that talk to other servers, read other formats, or have more than one process
    *("bz2", "dbm", "fileinput", "ftplib", "html", "http", "imaplib", "lzma", "mailbox", "multiprocessing", "netrc"),
    *("plistlib", "poplib", "pty", "sched", "shelve", "smtplib", "sqlite3", "urllib.request", "wave", "wsgiref", "xml"),
    "xmlrpc",
    # text from before Unicode that is Chinese, Japanese or Korean
    "_multibytecodec",
    # a Python in which these were not compiled
    *("_pydatetime", "_pydecimal", "_pyio"),
}
# _ssl lies in the layer of the OpenSSL that it runs on; hashlib has the same algorithms without _hashlib, and starts faster.
EXTENSIONS = {
    *("_asyncio", "_contextvars", "_ctypes", "_decimal", "_queue", "_zoneinfo"),
    *("mmap", "resource", "termios"),
}
MORE_EXTENSIONS = {
    *("_bz2", "_hashlib", "_interpchannels", "_interpqueues", "_interpreters", "_lsprof", "_lzma", "_multibytecodec"),
    *("_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw"),
    *("_multiprocessing", "_posixshmem", "_sqlite3", "_uuid"),
}
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def system(tree: Path) -> None:
    """What comes from Debian: without a shell, a package manager, or anything that runs as its owner."""
    interpreter = Path(sys.executable).resolve()
    copied = [*_stdlib(LEFT_OUT, EXTENSIONS), interpreter, Path("/usr/lib/os-release"), Path("/etc/debian_version")]
    for file in copied:
        _copy(file, tree)
    (tree / "usr/bin/python3").symlink_to(interpreter.name)
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")
    for folder in ("lib", "lib64"):
        if Path("/", folder).is_symlink():
            (tree / folder).symlink_to(f"usr/{folder}")
    for name, text in ACCOUNTS.items():
        (tree / name).write_text(text)
    # libpq looks for certificates and passwords in it.
    (tree / "home/nonroot").mkdir(parents=True)
    # Debian's authorities, and not those that the machine of the build trusts beyond them.
    bundle = tree / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    authorities = sorted(Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle.write_text("".join(file.read_text().strip() + "\n" for file in authorities))
    _packages([*copied, *authorities, *_libraries(tree)], tree)
    _bytecode(tree, keep_sources=False)


def dependencies(tree: Path, below: Path) -> None:
    """What comes from PyPI, and what else it needs from Debian."""
    _prune(tree / SITE)
    # psycopg imports ssl, and its wheel brings an OpenSSL: Python runs on the same one, because two in a process have crashed.
    bundled = tree / SITE / "psycopg_binary.libs"
    links = tree / LIBRARIES.relative_to("/")
    links.mkdir(parents=True)
    for name in ("libssl", "libcrypto"):
        [library] = bundled.glob(f"{name}-*.so.3")
        (links / f"{name}.so.3").symlink_to(os.path.relpath(library, links))
    [ssl] = STDLIB.glob("lib-dynload/_ssl.*.so")
    _copy(ssl, tree)
    _packages([ssl, *_libraries(tree, below)], tree)
    _bytecode(tree, keep_sources=False)


def mooring(tree: Path) -> None:
    """Mooring, with its sources, so that a traceback shows the lines that it names."""
    _prune(tree / SITE)
    _bytecode(tree, keep_sources=True)


def alembic(tree: Path, *below: Path) -> None:
    """Alembic with what it needs, and what else of the standard library a service's own programs import."""
    _prune(tree / SITE)
    for package in ("alembic", "mako", "sqlalchemy"):
        shutil.rmtree(tree / SITE / package / "testing")
    # SQLAlchemy has each of these modules as Python too. It is for many rows that they are compiled, and then half of its size.
    for compiled in [file for file in (tree / SITE / "sqlalchemy").rglob("*_cy.*") if file.suffix != ".py"]:
        compiled.unlink()
    # Where a service puts packages of its own. It comes last on the path: none of them can take the place of one of Mooring's.
    (tree / SITE / "packages.pth").write_text("/packages\n")
    present = {file.relative_to(root).with_suffix("") for root in below for file in root.rglob("*") if file.is_file()}
    copied = [file for file in _stdlib(NEVER, MORE_EXTENSIONS) if _place(file).with_suffix("") not in present]
    for file in copied:
        _copy(file, tree)
    _packages([*copied, *_libraries(tree, *below)], tree)
    _bytecode(tree, keep_sources=False)


def _stdlib(left_out: set[str], extensions: set[str]) -> Iterator[Path]:
    """The modules of the standard library that are not left out."""
    imports = re.compile(rf"^(?:from|import) (?:{'|'.join(left_out)})\b", re.MULTILINE)
    for name, folders, files in os.walk(STDLIB):
        folder = Path(name)
        is_top = folder == STDLIB
        folders[:] = sorted(one for one in folders if one != "__pycache__" and not (is_top and one in left_out))
        for file in sorted(folder / one for one in files):
            module = file.name.split(".")[0]
            # Debian's links are second names, and a hook for the administrator of a machine.
            wanted = module in extensions if folder.name == "lib-dynload" else not (is_top and module in left_out)
            if file.suffix == ".py":
                wanted &= not imports.search(file.read_text())
            if wanted and not file.is_symlink() and file.suffix in {".py", ".so", ".txt"}:
                yield file


def _libraries(tree: Path, *below: Path) -> list[Path]:
    """Copy what the programs and libraries of a tree need from Debian and the trees below do not have."""
    copied = []
    environment = os.environ | {"LD_LIBRARY_PATH": str(tree / LIBRARIES.relative_to("/"))}
    for file in sorted(_binaries(tree)):
        needs = subprocess.run(["ldd", file], env=environment, capture_output=True, text=True, check=True)  # noqa: S603, S607
        if "not found" in needs.stdout + needs.stderr:
            sys.exit(f"{file}: {needs.stdout}{needs.stderr}")
        for library in map(Path, re.findall(r"(/\S+) \(0x", needs.stdout)):
            known = [root for root in (tree, *below) if (root / _place(library)).exists()]
            if not known and not library.is_relative_to(tree):
                _copy(library, tree)
                copied.append(library)
    return copied


def _binaries(tree: Path) -> Iterator[Path]:
    for file in tree.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                if opened.read(4) == b"\x7fELF":
                    yield file


def _place(file: Path) -> Path:
    """Where a file of this machine lies in a tree: /lib is a link to /usr/lib, in a tree too."""
    return (file.parent.resolve() / file.name).relative_to("/")


def _copy(file: Path, tree: Path) -> None:
    target = tree / _place(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def _packages(files: list[Path], tree: Path) -> None:
    """Say which of Debian's packages files are from, for scanners, and under which licences they are."""
    names = [f"/{_place(file.resolve())}" for file in files]
    owners = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=True)  # noqa: S603, S607
    for owner in {line.rpartition(": ")[0] for line in owners.stdout.splitlines()}:
        status = subprocess.run(["dpkg-query", "--status", owner], capture_output=True, text=True, check=True)  # noqa: S603, S607
        package = owner.split(":")[0]
        (tree / PACKAGES).mkdir(parents=True, exist_ok=True)
        (tree / PACKAGES / package).write_text(status.stdout)
        licence = Path("/usr/share/doc", package, "copyright")
        if licence.exists():
            _copy(licence, tree)


def _prune(site: Path) -> None:
    """Delete what only installers and type checkers read, and what differs from build to build."""
    for name in ("bin", ".lock"):
        path = site / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    patterns = ("*.pyi", "py.typed", "*.dist-info/RECORD", "*.dist-info/direct_url.json", "*.dist-info/uv_cache.json")
    for file in [file for pattern in patterns for file in site.rglob(pattern)]:
        file.unlink()
    # A project's page on PyPI: no word of README.md makes another image.
    for metadata in site.glob("*.dist-info/METADATA"):
        metadata.write_text(metadata.read_text(encoding="utf-8").partition("\n\n")[0] + "\n", encoding="utf-8")


def _bytecode(tree: Path, *, keep_sources: bool) -> None:
    """Compile each module to bytecode that Python takes without comparing it to a source."""
    for source in sorted(tree.rglob("*.py")):
        target = Path(importlib.util.cache_from_source(str(source))) if keep_sources else source.with_suffix(".pyc")
        py_compile.compile(
            str(source),
            cfile=str(target),
            dfile=f"/{source.relative_to(tree)}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        if not keep_sources:
            source.unlink()


def _settle(tree: Path) -> None:
    """Give everything the time and the permissions that it has in every build."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (0, 0), follow_symlinks=False)


def main() -> None:
    """Lay out the layer that the command line names."""
    layer, tree, *below = sys.argv[1], *map(Path, sys.argv[2:])
    match layer:
        case "system":
            system(tree)
        case "dependencies":
            dependencies(tree, *below)
        case "mooring":
            mooring(tree)
        case "alembic":
            alembic(tree, *below)
    _settle(tree)


main()
