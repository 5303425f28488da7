"""Settings of Kafka clients: where they come from, and that secrets go nowhere else."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from actors.names import JOB_TOPIC
from actors.topics import ensure_topics
from anerf.errors import InputError, StackError
from cluster.broker import start_broker
from cluster.kafka_config import check_broker, read_kafka_settings, refusals
from cluster.processes import stop
from cluster.send import produce
from tests.cluster.password_gate import PasswordGate

SECRET = "correct-horse-battery"
ANERF = Path(sys.executable).with_name("anerf")


def write(path, *lines):
    path.write_text("\n".join(lines))
    return path


def test_the_file_goes_before_the_environment_and_the_command_line_before_both(tmp_path):
    file = write(
        tmp_path / "kafka.properties",
        "# of the emergency centre",
        "",
        "bootstrap.servers = file:1",
        f"sasl.password={SECRET}=with=equals",
        "security.protocol=SASL_SSL",
    )
    environment = {
        "ANERF_KAFKA_BOOTSTRAP_SERVERS": "environment:1",
        "ANERF_KAFKA_SASL_PASSWORD": "other",
        "ANERF_KAFKA_SASL_USERNAME": "anna",
        "HOME": "/",
    }
    assert read_kafka_settings(None, None, environment) == {
        "bootstrap.servers": "environment:1",
        "sasl.password": "other",
        "sasl.username": "anna",
    }
    found = read_kafka_settings(file, None, environment)
    assert found["bootstrap.servers"] == "file:1"
    assert found["sasl.password"] == f"{SECRET}=with=equals"
    assert found["sasl.username"] == "anna"
    assert read_kafka_settings(file, "here:1", environment)["bootstrap.servers"] == "here:1"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ((SECRET,), "line 1 of .* is not key=value"),
        (("", f"Sasl Password={SECRET}"), "line 2 of .* is not key=value"),
        (("a=1", f"a={SECRET}"), "line 2 of .* gives a a second time"),
        (("enable.auto.offset.store=true",), "enable.auto.offset.store is the ingestor's own affair"),
        (("partition.assignment.strategy=cooperative-sticky",), "strategy is the ingestor's own affair"),
    ],
)
def test_a_wrong_file_is_a_sentence_without_the_secret(lines, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence) as caught:
        read_kafka_settings(write(tmp_path / "k", *lines), None, {})
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the Kafka settings .*No such file"):
        read_kafka_settings(tmp_path / "none", None, {})


@pytest.mark.parametrize(
    ("kafka", "sentence"),
    [
        ({"sasl.passwort": SECRET}, 'No such configuration property: "sasl.passwort"'),
        ({"security.protocol": "MAGIC"}, 'Invalid value "MAGIC" for configuration property'),
        ({"ssl.key.pem": SECRET, "security.protocol": "SSL"}, "ssl.key.pem"),
    ],
)
def test_what_librdkafka_refuses_is_one_sentence_without_the_secret(kafka, sentence):
    with pytest.raises(InputError) as caught:
        check_broker({"bootstrap.servers": "127.0.0.1:1", **kafka})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_other_errors_pass_the_block():
    with pytest.raises(KeyError), refusals({}):
        raise KeyError


def test_commands_tell_it_and_not_the_secret(tmp_path):
    job = write(tmp_path / "a.json", '{"op": "train", "scene": "s", "job_id": "a"}')
    environment = {**os.environ, "ANERF_KAFKA_SASL_PASSWORT": SECRET}
    for arguments in (("up", "--out", tmp_path / "logs"), ("send", job)):
        done = subprocess.run(
            [ANERF, *arguments, "--bootstrap-servers", "127.0.0.1:1"],
            capture_output=True, text=True, env=environment, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "No such configuration property" in done.stderr
        assert SECRET not in done.stderr + done.stdout
    assert not any(SECRET in p.read_text() for p in (tmp_path / "logs").rglob("*") if p.is_file())


@pytest.mark.integration
def test_a_broker_that_wants_a_password_refuses_in_words(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("cluster.send._DELIVERY_TIMEOUT_S", 2.0)
    monkeypatch.setattr("cluster.kafka_config._TIMEOUT_S", 30.0)  # a refusal is told at once
    process, port = start_broker(tmp_path, tmp_path / "broker.log", authentication=True)
    kafka = {
        "bootstrap.servers": f"127.0.0.1:{port}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "anna",
        "sasl.password": SECRET,
    }
    try:
        with pytest.raises(StackError, match=r"does not let us in .*SASL") as caught:
            check_broker(kafka)
        assert SECRET not in str(caught.value)
        with pytest.raises(StackError, match="did not take the job") as caught:
            produce({**kafka, "debug": "all"}, "a", b"{}")
        assert SECRET not in str(caught.value)
    finally:
        stop(tmp_path, [process], grace_s=2.0)
    assert caplog.text
    assert SECRET not in caplog.text


@pytest.mark.integration
def test_who_has_the_password_comes_through_tls_and_nobody_else(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("cluster.kafka_config._TIMEOUT_S", 30.0)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    gate = PasswordGate(certificate, key, "anna", SECRET)
    process, port = start_broker(tmp_path, tmp_path / "broker.log", advertised=f"tcp://127.0.0.1:{gate.port}")
    gate.open(port)
    lines = [
        f"bootstrap.servers=127.0.0.1:{gate.port}",
        "security.protocol=SASL_SSL",
        "sasl.mechanism=PLAIN",
        "sasl.username=anna",
        f"sasl.password={SECRET}",
    ]
    trusting = [*lines, f"ssl.ca.location={certificate}"]
    kafka = read_kafka_settings(write(tmp_path / "kafka.properties", *trusting), None, {})
    try:
        check_broker(kafka)
        ensure_topics(kafka)
        produce({**kafka, "debug": "security,broker"}, "a", b"{}")
        consumer = Consumer({**kafka, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(JOB_TOPIC, 0, 0)])
        (message,) = consumer.consume(1, 20)
        assert message.value() == b"{}"
        consumer.close()
        assert gate.let_in >= 3
        for wrong, reason in (
            ({**kafka, "sasl.password": "guessed"}, "SASL"),
            (read_kafka_settings(write(tmp_path / "k", *lines), None, {}), "SSL"),
        ):
            let_in = gate.let_in
            with pytest.raises(StackError, match=f"does not let us in .*{reason}") as caught:
                check_broker(wrong)
            assert gate.let_in == let_in
            assert SECRET not in str(caught.value)
    finally:
        gate.close()
        stop(tmp_path, [process], grace_s=2.0)
    assert "SASL" in caplog.text
    assert SECRET not in caplog.text + (tmp_path / "broker.log").read_text()
