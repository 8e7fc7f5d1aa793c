"""The docker engine, as a user has it: the command line."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import PATIENCE, eventually


ROOT = Path(__file__).parents[2]
POSTGRES = "postgres:17"

# What a pod in a namespace that enforces the restricted Pod Security Standard has, and a root file system that is read-only.
RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


@dataclass(frozen=True)
class Ended:
    """A container that came to its end."""

    code: int
    output: str
    errors: str = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log: every line of the output must be JSON."""
        return [json.loads(line) for line in self.output.splitlines()]


def _name() -> str:
    return f"mooring-image-test-{uuid.uuid4().hex[:8]}"


def docker(*arguments: str) -> str:
    """What a docker command prints. It must work."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def run(
    image: str, *arguments: str, options: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a container to its end."""
    name = _name()
    variables = [f"--env={key}={value}" for key, value in (environment or {}).items()]
    command = ["docker", "run", "--rm", f"--name={name}", *options, *variables, image, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        docker("rm", "--force", name)
        raise
    return Ended(done.returncode, done.stdout, done.stderr)


def python(image: str, script: str, *options: str) -> str:
    """What a script prints that the image's own interpreter runs."""
    ended = run(image, "-IBc", script, options=("--entrypoint=python3", *RESTRICTED, *options))
    assert ended.code == 0, ended.errors
    return ended.output.strip()


@contextmanager
def started(image: str, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """The id of a container that runs in the background, removed in the end."""
    identity = docker("run", "--detach", f"--name={_name()}", *options, image, *arguments)
    try:
        yield identity
    finally:
        docker("rm", "--force", "--volumes", identity)


@contextmanager
def network() -> Iterator[str]:
    """The name of a network on which containers find each other by name."""
    name = _name()
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextmanager
def built(context: Path, *options: str) -> Iterator[str]:
    """The name of an image, removed in the end."""
    name = f"mooring-image-test:{uuid.uuid4().hex[:8]}"
    docker("build", "--quiet", f"--tag={name}", *options, str(context))
    try:
        yield name
    finally:
        docker("rmi", "--force", name)


def layers(image: str) -> list[str]:
    """The digests of what an image holds, from the lowest layer to the highest."""
    found: list[str] = json.loads(docker("inspect", "--format={{json .RootFS.Layers}}", image))
    return found


def exported(image: str) -> tarfile.TarFile:
    """The files of an image."""
    identity = docker("create", image)
    try:
        content = subprocess.run(["docker", "export", identity], capture_output=True, check=True).stdout
    finally:
        docker("rm", identity)
    return tarfile.open(fileobj=io.BytesIO(content))


@dataclass(frozen=True)
class Server:
    """A PostgreSQL in a container. It is called `db` on its network, and its certificate says so."""

    identity: str
    network: str
    certificates: Path
    password: str = "secret"  # noqa: S105 - of a container that lives as long as a test

    def psql(self, sql: str, database: str = "postgres") -> list[str]:
        """The rows of a query, as psql prints them without a frame."""
        return docker(
            *("exec", self.identity, "psql", "--username=postgres", f"--dbname={database}", "-AtXc", sql),
        ).splitlines()

    def database(self) -> str:
        """The name of a new database."""
        name = f"test_{uuid.uuid4().hex[:8]}"
        self.psql(f"CREATE DATABASE {name}")
        return name

    def up(self, image: str, database: str, *options: str, url: str = "", **settings: str) -> Ended:
        """Run a service's image as its pod would, with parameters of the connection and settings of Mooring."""
        environment = {
            "MOORING_SERVICE": "ingestion",
            "MOORING_DATABASE_URL": f"postgresql://postgres:{self.password}@db/{database}{url}",
            **{f"MOORING_{name.upper()}": value for name, value in settings.items()},
        }
        return run(image, options=(*RESTRICTED, f"--network={self.network}", *options), environment=environment)


@contextmanager
def postgres(certificates: Path) -> Iterator[Server]:
    """A server with TLS, and the folder of its certificates: one authority that signed it, and one that did not."""
    _certify(certificates)
    # The server wants its key to be its own, and readable for nobody else; a folder from outside belongs to somebody else.
    start = (
        "install --mode=600 --owner=postgres /certificates/server.key /tmp/ && exec docker-entrypoint.sh postgres"
        " -c ssl=on -c ssl_cert_file=/certificates/server.crt -c ssl_key_file=/tmp/server.key"
    )
    with (
        network() as name,
        started(
            *(POSTGRES, "-c", start),
            options=(
                *(f"--network={name}", "--network-alias=db", "--network-alias=not-db", "--entrypoint=bash"),
                *(f"--volume={certificates}:/certificates:ro", f"--env=POSTGRES_PASSWORD={Server.password}"),
            ),
        ) as identity,
    ):
        eventually(
            lambda: True if _answers(identity) else None,
            lambda: docker("logs", identity),
        )
        yield Server(identity, name, certificates)


def _answers(identity: str) -> bool:
    # Over TCP, on which the server does not listen before its first start is complete.
    command = ["docker", "exec", identity, "pg_isready", "--quiet", "--host=127.0.0.1"]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _certify(folder: Path) -> None:
    folder.chmod(0o755)
    request = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    )
    for name in ("ca", "other-ca"):
        _in(folder, *request, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:db")
    _in(folder, *request, *signed, "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=db")
    (folder / "server.key").chmod(0o644)


def _in(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
