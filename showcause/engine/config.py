"""TorchServe's configuration: everything on loopback, tokens on, nothing fetched, little logged."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Above every reply that a request may ask for (request.MOST_REPLY_BYTES): an over-size reply would kill a worker.
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
TOKEN_MINUTES = 10 * 365 * 24 * 60  # TorchServe's default of an hour would lock the gateway out
QUEUE_SIZE = 100_000  # requests waiting for one model: the gateway lets in far fewer

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d{ISO8601} %-5p %c{1} - %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_LOG" level="info">
      <RegexFilter regex=".*Backend received inference.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>
    <Logger name="org.pytorch.serve" level="warn"/>
    <Root level="warn"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of one TorchServe."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


def free_ports() -> Ports:
    """Five ports that are free now."""
    sockets = [socket.socket() for _ in range(5)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Ports(*(each.getsockname()[1] for each in sockets))
    finally:
        for each in sockets:
            each.close()


def write_config(folder: Path, store: Path, archives: Sequence[str], ports: Ports, gpus: int | None) -> Path:
    """Writes config.properties and the logging configuration into ``folder``; returns the former.

    gpus: how many GPUs TorchServe may use; None lets it find out.
    """
    settings = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_port": ports.grpc_management,
        "model_store": store,
        "load_models": ",".join(archives),
        "job_queue_size": QUEUE_SIZE,
        "max_request_size": MAX_MESSAGE_BYTES,
        "max_response_size": MAX_MESSAGE_BYTES,
        "token_expiration_min": TOKEN_MINUTES,
        "disable_token_authorization": "false",
        "enable_model_api": "true",  # loading while it runs; of archives in the store alone
        "allowed_urls": "none://nothing",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "disable_system_metrics": "true",
        "metrics_mode": "prometheus",
    }
    if gpus is not None:
        settings["number_of_gpu"] = gpus
    path = folder / "config.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    (folder / "log4j2.xml").write_text(LOGGING)
    return path
