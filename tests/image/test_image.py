"""What is in the image, and what is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tomllib
import zlib
from pathlib import Path

import pytest

from tests.image.docker import RESTRICTED, ROOT, built, docker, exported, layers, python, run, started


GIVEN = "TEST_IMAGE" in os.environ
MEGABYTE = 1_000_000
SITE = "usr/lib/python3/dist-packages"


@pytest.fixture(scope="module")
def files(each_image: str) -> dict[str, tarfile.TarInfo]:
    """Every file, folder and link of a container's file system, without what the engine puts there."""
    own = (".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf")
    with exported(each_image) as archive:
        members = {member.name.rstrip("/"): member for member in archive.getmembers()}
    return {name: member for name, member in members.items() if not name.startswith(own)}


@pytest.fixture(scope="module")
def modules(each_image: str) -> dict[str, bytes]:
    """The beginning of every file of Python's."""
    with exported(each_image) as archive:
        return {
            member.name: opened.read(16)
            for member in archive.getmembers()
            if member.name.endswith((".py", ".pyc")) and (opened := archive.extractfile(member))
        }


@pytest.mark.parametrize("user", ["65532:65532", "12345", "1000670000:0", "0"])
def test_it_runs_with_nothing_allowed(each_image: str, user: str) -> None:
    """No write to the file system, no capability, no network, any user: OpenShift gives each namespace one of its own."""
    ended = run(each_image, "--version", options=(*RESTRICTED, f"--user={user}", "--network=none"))
    assert (ended.code, ended.output.split()[0], ended.errors) == (0, "mooring", "")


def test_its_user_is_a_number(each_image: str) -> None:
    """Kubernetes cannot tell whether a user with a name is root, and refuses to start it with runAsNonRoot."""
    assert docker("inspect", "--format={{.Config.User}}", each_image) == "65532:65532"
    assert (
        python(each_image, "import os; print(os.getuid(), os.getgid(), os.environ['HOME'])")
        == "65532 65532 /home/nonroot"
    )


def test_it_has_no_program_but_its_own(files: dict[str, tarfile.TarInfo]) -> None:
    """No shell, no package manager, no pip."""
    programs = {name for name in files if "/bin/" in name or "/sbin/" in name or name.startswith(("bin", "sbin"))}
    interpreter = {name for name in programs if name.startswith("usr/bin/python3.")}
    assert programs == {"usr/bin/python3", "usr/local/bin/mooring", *interpreter}
    assert len(interpreter) == 1
    assert not [name for name in files if "/pip/" in name or "/ensurepip" in name]


def test_nothing_in_it_gives_or_takes_rights(files: dict[str, tarfile.TarInfo]) -> None:
    """All of it is root's, readable for everybody, writable for nobody else; no program runs as its owner."""
    odd = {
        name: f"{member.mode & 0o7777:o} {member.uid}:{member.gid}"
        for name, member in files.items()
        if not member.issym() and (member.mode & 0o7777 not in {0o644, 0o755} or member.uid or member.gid)
    }
    assert odd == {}


def test_it_is_at_most_40_megabytes(image: str) -> None:
    assert int(docker("inspect", "--format={{.Size}}", image)) <= 40 * MEGABYTE


def test_it_is_at_most_15_megabytes_to_download(image: str) -> None:
    compressor = zlib.compressobj(9, wbits=31)
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        assert saved.stdout
        size = sum(len(compressor.compress(part)) for part in saved.stdout)
    assert size + len(compressor.flush()) <= 15 * MEGABYTE


def test_every_module_is_compiled(modules: dict[str, bytes]) -> None:
    """As bytecode that Python takes without looking at the source, and that is the same in each build."""
    sources = {name for name in modules if name.endswith(".py")}
    folders = {name: name.rpartition("/") for name in sources}
    compiled = {
        name: f"{folder}/__pycache__/{file[:-3]}.cpython-313.pyc" for name, (folder, _, file) in folders.items()
    }
    assert [name for name, bytecode in compiled.items() if bytecode not in modules] == []
    unchecked = 0b01
    other = [
        name
        for name, head in modules.items()
        if name.endswith(".pyc") and int.from_bytes(head[4:8], "little") != unchecked
    ]
    assert other == []


def test_mooring_has_its_sources(each_image: str, modules: dict[str, bytes]) -> None:
    """A traceback shows the lines of Mooring's that it names."""
    assert f"{SITE}/mooring/cli.py" in modules
    script = "import mooring.settings as s, traceback\ntry: s.load(1)\nexcept Exception: print(traceback.format_exc())"
    assert "in load\n    " in python(each_image, script)


def test_it_writes_nothing(each_image: str) -> None:
    """Not even where it could, as root on a file system that can be written to."""
    with started(
        each_image, options=("--user=0", "--env=MOORING_SERVICE=a", "--env=MOORING_MIGRATIONS=/none")
    ) as identity:
        docker("wait", identity)
        assert docker("diff", identity) == ""


def test_every_module_finds_what_it_needs(each_image: str) -> None:
    """Whatever was left out of the standard library, no module that was kept misses it."""
    script = """
import importlib, json, os, pkgutil, sys, warnings
warnings.simplefilter("ignore")
here = [os.path.dirname(os.__file__), *[path for path in sys.path if path.endswith("dist-packages")]]
missing = {}
# Of other systems, of a Python whose C modules were not compiled, and of terminals.
foreign = {
    *("msvcrt", "winreg", "_winapi", "_overlapped", "nt", "_wmi", "_scproxy", "_ios_support", "_android_support"),
    "_pyrepl",
}
for module in pkgutil.walk_packages(here, onerror=lambda name: None):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name in sys.stdlib_module_names and name not in foreign:
            missing[module.name] = error.name
    except (Exception, SystemExit):
        pass
print(json.dumps(missing))
"""
    assert json.loads(python(each_image, script)) == {}


def test_the_dependencies_are_those_of_the_lock_file(each_image: str) -> None:
    script = """
import json
from importlib.metadata import distributions
print(json.dumps({one.name.lower().replace("_", "-"): one.version for one in distributions()}))
"""
    found = json.loads(python(each_image, script))
    locked = {
        package["name"]: package["version"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    assert {name: locked.get(name) for name in found} == found
    assert {
        "mooring",
        "psycopg",
        "psycopg-binary",
        "pydantic",
        "pydantic-core",
        "pydantic-settings",
        "structlog",
    } <= set(found)


def test_each_dependency_has_its_licence(files: dict[str, tarfile.TarInfo]) -> None:
    described = {name.split("/")[4] for name in files if name.startswith(SITE) and name.endswith(".dist-info/METADATA")}
    licensed = {name.split("/")[4] for name in files if name.startswith(SITE) and "/licenses/" in name}
    assert described
    assert described - licensed == set()


def test_it_has_one_openssl(each_image: str) -> None:
    """Python's modules and libpq run on the same one: one to keep up to date, and one in the process."""
    script = "import hashlib, ssl, psycopg; print({line.split()[-1] for line in open('/proc/self/maps') if 'crypto' in line})"
    assert python(each_image, script).count("libcrypto") == 1


def test_scanners_find_debians_packages(files: dict[str, tarfile.TarInfo]) -> None:
    """What has vulnerabilities is looked up by the names and the versions of these files."""
    found = {name.rpartition("/")[2] for name in files if name.startswith("var/lib/dpkg/status.d/")}
    assert {"base-files", "ca-certificates", "libc6", "libexpat1", "python3.13-minimal", "zlib1g"} <= found
    assert "etc/os-release" in files


def test_names_are_found_in_the_hosts_file(image: str) -> None:
    """What a pod's hostAliases are written to."""
    script = "import socket; print(socket.gethostbyname('db.example'))"
    assert python(image, script, "--add-host=db.example:192.0.2.7", "--network=none") == "192.0.2.7"


def test_its_labels_say_what_it_is(each_image: str) -> None:
    labels = json.loads(docker("inspect", "--format={{json .Config.Labels}}", each_image))
    said = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
    version = run(each_image, "--version").output.split()[1]
    assert (said["title"].split()[0], said["licenses"], said["version"]) == ("Mooring", "MIT", version)
    assert said["description"]


@pytest.mark.skipif(GIVEN, reason="TEST_IMAGE names an image: nothing is built")
def test_two_builds_have_the_same_layers() -> None:
    """A node that has the layers of one build never loads those of another one of the same commit.

    Those for Alembic are those of the plain image, and one more (test_alembic).
    """
    anew = ("--no-cache", "--target=mooring-alembic")
    with built(ROOT, *anew) as one, built(ROOT, *anew) as other:
        assert layers(one) == layers(other)


@pytest.mark.skipif(GIVEN, reason="TEST_IMAGE names an image: nothing is built")
def test_a_new_mooring_is_one_new_layer(image: str, tmp_path: Path) -> None:
    """A node that has one Mooring loads no interpreter and no dependency for the next one."""
    for name in ("src", "image"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in (".dockerignore", "Dockerfile", "LICENSE", "README.md", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "src/mooring/__init__.py").open("a") as module:
        module.write("# a change\n")
    with built(tmp_path) as new:
        before, after = layers(image), layers(new)
    assert (before[:-1], before[-1] == after[-1]) == (after[:-1], False)
