"""A kind cluster, the database in it, and the namespaces of single tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.support import eventually


ROOT = Path(__file__).parents[2]
CHART = ROOT / "chart"
PATIENCE = 120
"""Seconds after which what should have happened is taken not to happen."""
DISK = "/var/lib/mooring-test-postgres"
"""Where a node has PostgreSQL's data."""

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
"""What a namespace's labels must say; `warn` speaks of Deployments too, whose pods would be refused later."""


class CommandFailed(AssertionError):
    """A command that a user would type did not work."""

    def __init__(self, command: Sequence[str], status: int, output: str) -> None:
        super().__init__(f"{' '.join(command)}\nexited with {status}:\n{output}")
        self.output = output


def run(*command: str, stdin: str | None = None) -> str:
    """What a command prints. Raises CommandFailed with all that it said."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stdout + done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    name: str
    kubeconfig: Path

    def start(self) -> None:
        """Create it, or use the one that an earlier run has left. KIND_NODE_IMAGE names another node image than kind's own."""
        named = ["--name", self.name, "--kubeconfig", str(self.kubeconfig)]
        if self.name in run("kind", "get", "clusters").split():
            run("kind", "export", "kubeconfig", *named)
            return
        node = os.environ.get("KIND_NODE_IMAGE")
        options = [
            "--config",
            str(ROOT / "kind-config.yaml"),
            "--wait",
            f"{PATIENCE}s",
            *(["--image", node] if node else []),
        ]
        run("kind", "create", "cluster", *named, *options)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints."""
        return run("kubectl", "--kubeconfig", str(self.kubeconfig), *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """What Helm prints."""
        return run("helm", "--kubeconfig", str(self.kubeconfig), *arguments)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create objects."""
        self.kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def load(self, *images: str) -> None:
        """Bring images of the local engine to the workers, those that they do not have already."""
        run("kind", "load", "docker-image", "--name", self.name, "--nodes", ",".join(self.workers), *images)

    def cut_off(self, node: str) -> None:
        """Take a node away as a loss of power does: nobody hears of it, and no connection is closed."""
        run("docker", "network", "disconnect", "kind", node)
        run("docker", "kill", node)

    def bring_back(self, node: str) -> None:
        """Start a node that was taken away, and wait until the cluster hears of it."""
        heard = self._heard_of(node)
        run("docker", "network", "connect", "kind", node)
        run("docker", "start", node)
        eventually(
            lambda: True if self._heard_of(node) != heard else None,
            lambda: self.kubectl("describe", "node", node),
            PATIENCE,
        )
        self.kubectl("wait", f"node/{node}", "--for=condition=Ready", f"--timeout={PATIENCE}s")

    def _heard_of(self, node: str) -> str:
        return self.kubectl("--namespace=kube-node-lease", "get", "lease", node, "--output=jsonpath={.spec.renewTime}")

    @cached_property
    def workers(self) -> list[str]:
        """The nodes on which pods run; each is a container of the local engine, under the same name."""
        nodes = run("kind", "get", "nodes", "--name", self.name).split()
        return sorted(node for node in nodes if "control-plane" not in node)


@dataclass(frozen=True)
class Site:
    """A namespace and a database of one test's own, with the secrets that the example services' values name."""

    cluster: Cluster
    namespace: str

    @property
    def database(self) -> str:
        """The database's name, and its owner's."""
        return self.namespace.replace("-", "_")

    @classmethod
    @contextmanager
    def of(cls, cluster: Cluster, name: str) -> Iterator[Site]:
        """One for a test of this name, as long as it runs; nobody waits for the namespace to go."""
        # A kept cluster may still have the last run's database, and be deleting its namespace.
        site = cls(cluster, f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}-{uuid.uuid4().hex[:6]}")
        owner = password = site.database
        site.psql(
            "postgres", f"CREATE ROLE {owner} LOGIN PASSWORD '{password}'", f"CREATE DATABASE {owner} OWNER {owner}"
        )
        host = "postgres.postgres.svc"
        url = f"postgresql://{owner}:{password}@{host}:5432/{owner}"
        parts = {"host": host, "port": "5432", "dbname": owner, "username": owner, "password": password, "uri": url}
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace, "labels": RESTRICTED}},
            *(
                site.secret(f"{service}-db", {"url": url})
                for service in ("ingestion", "scheduler", "alerting", "reporting", "forecasting")
            ),
            site.secret("events-app", parts),
        )
        try:
            yield site
        finally:
            cluster.kubectl("delete", "namespace", site.namespace, "--wait=false")

    def secret(self, name: str, values: Mapping[str, str]) -> dict[str, Any]:
        """A Secret of the namespace."""
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(values)}

    def psql(self, database: str, *statements: str) -> list[list[str]]:
        """The rows of statements, run by the database's administrator."""
        commands = [argument for statement in statements for argument in ("--command", statement)]
        options = [
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--field-separator=\t",
            "--set=ON_ERROR_STOP=1",
        ]
        psql = ["psql", "--username=postgres", f"--dbname={database}", *options, *commands]
        rows = self.cluster.kubectl("--namespace=postgres", "exec", "postgres-0", "--", *psql)
        return [line.split("\t") for line in rows.splitlines()]

    def sql(self, statement: str) -> list[list[str]]:
        """The rows of a statement in the test's database."""
        return self.psql(self.database, statement)

    def tables(self) -> set[str]:
        """The tables of the test's database."""
        return {name for [name] in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints about the namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """What Helm prints about the namespace."""
        return self.cluster.helm("--namespace", self.namespace, *arguments)

    def shell(self, command: str) -> str:
        """What a command prints that a user has copied from somewhere."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}
        return subprocess.run(
            ["bash", "-c", command], env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def install(self, service: str, image: str, *options: str) -> Release:
        """Install one of the example services from its values file, as a user would."""
        release = Release(self, service)
        self.helm("install", service, str(CHART), *release.values(image), *options)
        return release


@dataclass(frozen=True)
class Release:
    """An installed service."""

    site: Site
    name: str

    def values(self, image: str) -> list[str]:
        """The values of the service's file, with images that exist here."""
        repository, _, tag = image.partition(":")
        file = CHART / "services" / f"{self.name}.yaml"
        tables = yaml.safe_load(file.read_text(encoding="utf-8"))["expectedTables"]
        probe = " ".join(['psql -X "$DATABASE_URL"', *(f"-c 'TABLE {table}'" for table in tables)])
        return [
            f"--values={file}",
            f"--values={Path(__file__).parent / 'service.yaml'}",
            f"--set=image.repository={repository},image.tag={tag}",
            f"--set-json=workload.readinessProbe.exec.command={json.dumps(['bash', '-c', probe])}",
        ]

    def upgrade(self, image: str, *options: str) -> None:
        """Upgrade to another image of the migrations."""
        self.site.helm("upgrade", self.name, str(CHART), *self.values(image), *options)

    def rollback(self) -> None:
        """Go back to the release's previous revision."""
        self.site.helm("rollback", self.name)

    def state(self) -> State:
        """What Kubernetes knows of it."""
        listed = json.loads(self.site.kubectl("get", "deployment,replicaset,pod", self._selector, "--output=json"))
        return State(listed["items"])

    def ready(self, within: float = PATIENCE, *, after_failures: bool = False) -> list[Pod]:
        """Its pods, once all of them are of the newest revision and ready.

        At once an error if their migrations fail, unless they may fail first, and be tried again.
        """

        def ask() -> list[Pod] | None:
            state = self.state()
            failed = [f"{pod.name}: {pod.migration}" for pod in state.pods if pod.migration and pod.migration.code]
            assert after_failures or not failed, "\n".join(
                [f"the migrations of {self.name} failed:", *failed, self.describe()]
            )
            return state.pods if state.complete else None

        return eventually(ask, lambda: f"{self.name} is not ready\n{self.describe()}", within)

    def refused(self, code: int, within: float = PATIENCE) -> Pod:
        """A pod whose migrations have ended with an exit code, and whose service has not started."""

        def ask() -> Pod | None:
            state = self.state()
            assert not state.complete, f"{self.name} is ready, although its migrations should have failed"
            return next((pod for pod in state.pods if pod.migration and pod.migration.code), None)

        pod = eventually(ask, lambda: f"the migrations of {self.name} have not failed\n{self.describe()}", within)
        assert pod.migration, self.describe()
        assert pod.migration.code == code, self.describe()
        assert not pod.started, self.describe()
        return pod

    def migrating(self) -> Pod:
        """The pod in whose migrations a statement sleeps."""

        def ask() -> Pod | None:
            sleeping = f"datname = '{self.site.database}' AND wait_event = 'PgSleep'"
            if not self.site.psql("postgres", f"SELECT pid FROM pg_stat_activity WHERE {sleeping}"):
                return None
            [pod] = self.state().pods
            return pod

        return eventually(ask, lambda: f"no statement of {self.name} sleeps\n{self.describe()}", PATIENCE)

    def log(self, pod: Pod) -> list[dict[str, Any]]:
        """The events that a pod's migrations have logged."""
        return [json.loads(line) for line in self.site.kubectl("logs", pod.name, "--container=migrate").splitlines()]

    def logs(self, *options: str) -> str:
        """What all its pods have logged, as far as a busy machine still has it."""
        every = ["--all-containers", "--max-log-requests=100", "--ignore-errors"]
        return self.site.kubectl("logs", self._selector, *every, *options)

    def describe(self) -> str:
        """All that helps to find out why something went wrong."""
        texts = [self.site.kubectl("get", "all"), self.site.kubectl("describe", "pods", self._selector)]
        try:
            texts.append(self.logs("--prefix", "--tail=50"))
        except CommandFailed as error:
            texts.append(str(error))
        return "\n".join(texts)

    @property
    def _selector(self) -> str:
        return f"--selector=app.kubernetes.io/instance={self.name}"


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    code: int
    reason: str
    """Kubernetes' word for it, such as Completed, Error or OOMKilled."""
    message: str
    """Its last word, as `kubectl describe pod` shows it."""
    started_at: str
    finished_at: str


_ENDED = {
    "code": "exitCode",
    "reason": "reason",
    "message": "message",
    "started_at": "startedAt",
    "finished_at": "finishedAt",
}


@dataclass(frozen=True)
class Pod:
    """A pod, as Kubernetes describes it."""

    raw: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.raw["metadata"]["name"])

    @property
    def node(self) -> str:
        """The node that it runs on."""
        return str(self.raw["spec"].get("nodeName", ""))

    @property
    def migration(self) -> Ended | None:
        """How its migrations ended last; None while they run for the first time.

        A container that a busy machine's runtime failed to start has not run; the kubelet tries again.
        """
        for status in self.raw["status"].get("initContainerStatuses", []):
            for state in (status["state"], status["lastState"]) if status["name"] == "migrate" else ():
                ended = state.get("terminated")
                if ended and ended.get("reason") != "StartError":
                    return Ended(**{name: ended.get(key, "") for name, key in _ENDED.items()})
        return None

    @property
    def started(self) -> bool:
        """Whether the service's own container has ever run."""
        statuses = self.raw["status"].get("containerStatuses", [])
        return any("waiting" not in status["state"] or status["restartCount"] for status in statuses)


@dataclass(frozen=True)
class State:
    """What Kubernetes knows of a release."""

    items: Sequence[Mapping[str, Any]]

    @cached_property
    def deployment(self) -> Mapping[str, Any]:
        """The Deployment; an empty one until the API server lists it."""
        empty = {"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {}}
        return next((item for item in self.items if item["kind"] == "Deployment"), empty)

    @cached_property
    def pods(self) -> list[Pod]:
        """The pods of the Deployment's newest revision, without those that are to go."""
        if not self._seen:
            return []
        revision = _revision(self.deployment)
        hashes = {
            item["metadata"]["labels"]["pod-template-hash"]
            for item in self.items
            if item["kind"] == "ReplicaSet" and _revision(item) == revision
        }
        pods = [item for item in self.items if item["kind"] == "Pod" and not item["metadata"].get("deletionTimestamp")]
        return [Pod(item) for item in pods if item["metadata"]["labels"].get("pod-template-hash") in hashes]

    @cached_property
    def _seen(self) -> bool:
        """Whether the Deployment controller has seen the newest revision."""
        return bool(self.deployment["status"].get("observedGeneration", 0) >= self.deployment["metadata"]["generation"])

    @cached_property
    def complete(self) -> bool:
        """Whether every replica is of the newest revision and ready, and none is left of an older one."""
        status, wanted = self.deployment["status"], self.deployment["spec"]["replicas"]
        return self._seen and all(
            status.get(count, 0) == wanted
            for count in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        )


def _revision(item: Mapping[str, Any]) -> str:
    """Which revision of a Deployment an object is of; the Deployment controller writes it a moment after its creation."""
    return str(item["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision", ""))


def start_postgres(cluster: Cluster, image: str) -> None:
    """Run PostgreSQL in a namespace of its own, on a disk of the first worker, which outlives its pod."""
    if cluster.kubectl("get", "statefulset", "--namespace=postgres", "--output=name"):
        return  # in a cluster that an earlier run has left
    cluster.load(image)
    # The image's own user: initdb wants one that the image's /etc/passwd knows.
    user = int(run("docker", "run", "--rm", "--entrypoint=id", image, "-u", "postgres"))
    run("docker", "exec", cluster.workers[0], "install", "--directory", f"--owner={user}", DISK)
    labels = {"app": "postgres"}
    container = {
        "name": "postgres",
        "image": image,
        "args": ["postgres", "-c", "fsync=off", "-c", "max_connections=300"],
        "env": [{"name": "POSTGRES_PASSWORD", "value": "postgres"}, {"name": "PGDATA", "value": "/data/pgdata"}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "--host=127.0.0.1"]}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": user, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": "postgres", "namespace": "postgres"}
    storage = {"accessModes": ["ReadWriteOnce"], "storageClassName": "postgres"}
    host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [cluster.workers[0]]}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "postgres", "labels": RESTRICTED}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "postgres"},
            "spec": {
                **storage,
                "capacity": {"storage": "1Gi"},
                "local": {"path": DISK},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 5432}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "data"},
                        "spec": {**storage, "resources": {"requests": {"storage": "1Gi"}}},
                    }
                ],
            },
        },
    )
    cluster.kubectl("--namespace=postgres", "rollout", "status", "statefulset/postgres", f"--timeout={PATIENCE}s")
