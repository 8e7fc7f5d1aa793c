"""Values that Helm refuses, in words that say which value and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.helm import CHART, LEAST, Refused, helm, merged, refusal


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"versionTabel": "goose_orders"}, "- at '': additional properties 'versionTabel' not allowed"),
        ({"database": {"secretKey": "x"}}, "- at '/database': additional properties 'secretKey' not allowed"),
        ({"workload": {"imgae": {}}}, "- at '/workload': additional properties 'imgae' not allowed"),
        ({"resources": {"memory": "1Gi"}}, "- at '/resources': additional properties 'memory' not allowed"),
        ({"wait": 60}, "- at '/wait': got number, want string"),
        (
            {"wait": "60 seconds"},
            "- at '/wait': '60 seconds' does not match pattern '^[0-9]+(\\\\.[0-9]+)? *(ms|s|m|h)$'",
        ),
        ({"image": {"tag": 1.1}}, "- at '/image/tag': got number, want string"),
        (
            {"image": {"digest": "0a1b"}},
            "- at '/image/digest': '0a1b' does not match pattern '^(sha256:[0-9a-f]{64})?$'",
        ),
        ({"squashed": 12}, "- at '/squashed': got number, want string"),
        ({"allowSharedName": "yes"}, "- at '/allowSharedName': got string, want boolean"),
        ({"expectedTables": "orders"}, "- at '/expectedTables': got string, want array"),
        ({"logLevel": "trace"}, "- at '/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ({"extraEnv": [{"name": "A", "valeu": "b"}]}, "- at '/extraEnv/0': additional properties 'valeu' not allowed"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "- at '/extraEnv/0/value': got number, want string"),
        ({"extraVolumes": [{"emptyDir": {}}]}, "- at '/extraVolumes/0': missing property 'name'"),
    ],
)
def test_the_schema_refuses(values: dict[str, Any], message: str) -> None:
    assert message in refusal(merged(LEAST, values))


def test_whatever_is_missing_is_named_at_once() -> None:
    text = refusal({})
    assert text[text.index("correct these values:") :].splitlines()[:7] == [
        "correct these values:",
        "  service: name the service whose migrations these are",
        "  image.repository: name the image with the migrations",
        "  image.tag: say which version of it, or image.digest",
        "  database.urlKey: name the key of database.secret that has the connection's URL; or the host with database.hostKey"
        " or database.host",
        "  workload.image.repository: name the service's own image",
        "  workload.image.tag: say which version of it, or workload.image.digest",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"database": {"secret": ""}}, "database.secret: name the Secret that database.urlKey is a key of"),
        (
            {"database": {"secret": "", "urlKey": "", "hostKey": "h", "userKey": "u"}},
            "database.secret: name the Secret that database.hostKey, database.userKey are keys of",
        ),
        (
            {"database": {"urlKey": "", "host": "db", "passwordKey": "password"}},
            "database.userKey: name the key of database.secret that has the user; or the user with database.user",
        ),
        ({"database": {"host": "db", "hostKey": "host"}}, "database.host: leave it out, or database.hostKey"),
        (
            {"service": "заказы"},
            "nameOverride: give the objects a name of letters, digits and hyphens, which the service's has not",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], message: str) -> None:
    assert f"correct these values:\n  {message}\n" in refusal(merged(LEAST, values))


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"image": {"tag": "latest"}}, "image.tag is latest"),
        ({"allowSharedName": True}, "allowSharedName is true"),
        ({"database": {"sslMode": "disable"}}, "database.sslMode is disable"),
        ({"lockWait": "0s"}, "lockWait is 0"),
        ({"lockTimeout": "0ms"}, "lockTimeout is 0"),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds is below 15"),
    ],
)
def test_the_notes_warn_of_a_risky_value(values: dict[str, Any], warning: str) -> None:
    assert f"\nWARNING: {warning}" in notes(values)


def test_the_notes_say_what_to_type_next() -> None:
    text = notes({})
    assert "WARNING" not in text
    assert "kubectl --namespace shop logs deployment/orders --container migrate\n" in text
    assert "kubectl --namespace shop rollout status deployment/orders --timeout 1260s\n" in text
    assert "helm upgrade orders CHART --namespace shop" in text


def notes(values: dict[str, Any]) -> str:
    """What Helm prints after an installation."""
    try:
        text = helm(
            "install", "orders", str(CHART), "--namespace=shop", "--dry-run=client", values=merged(LEAST, values)
        )
    except Refused as error:
        if "cluster unreachable" in str(error):
            pytest.skip("Helm 3 shows no notes without a cluster")
        raise
    return text[text.index("NOTES:") :]
