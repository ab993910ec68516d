"""From a published file to an answer: imported by the command line, served, explained."""

import subprocess
import sys

import pytest
import torch

from showcause import Client, cli
from showcause.image import decode, frame_of, to_input
from showcause.manifest import read_manifest
from tests.checkpoints import NARROW, as_options, labels_file, saved
from tests.small_models import calibrated


def wanted_logits(net, folder, photo):
    """Computed with nothing between the photo and the network."""
    image = decode(photo)
    rgb = torch.from_numpy(to_input(image, frame_of(image.size, None, read_manifest(folder).input)))
    return net.run(rgb[None]).logits[0].tolist()


def test_an_official_resnet18_is_imported_and_served(launch, tmp_path, photo):
    store, net = tmp_path / "store", calibrated("bcos_resnet18", 10)
    weights = saved(net.state_dict(), tmp_path, "resnet_18")
    command = [sys.executable, "-m", "showcause.cli", "models", "import", "resnet18", "--network", "bcos_resnet18"]
    command += ["--weights", weights, "--labels", labels_file(tmp_path, 10), "--model-store", store]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"verified, it begins with {weights.stem.split('-')[1]}" in done.stdout
    running = launch("--model-store", str(store))
    assert running.grpc, running.output
    with Client(running.grpc) as client:
        reply = client.explain(photo, prediction_count=10)
        assert "was not measured" in client.model("resnet18").card
    assert reply.explanation.residual.relative < 1e-4
    found = {prediction.index: prediction.logit for prediction in reply.predictions}
    wanted = wanted_logits(net, store / "resnet18", photo)
    assert [found[index] for index in range(10)] == pytest.approx(wanted, abs=1e-4)
    assert len({prediction.label for prediction in reply.predictions}) == 10
    assert running.stop() == 0, running.output


def test_every_official_network_is_served_at_once(launch, tmp_path, photo):
    """All in one store and one service, narrowed, with a worker each."""
    store, nets = tmp_path / "store", {}
    for network, options in NARROW.items():
        nets[network] = calibrated(network, 5, **options)
        weights = saved(nets[network].state_dict(), tmp_path, network)
        flags = ["--network", network, "--weights", weights, "--labels", labels_file(tmp_path, 5), "--input", "64"]
        flags += ["--model-store", store, *as_options(options)]
        assert cli.main(["models", "import", network, *map(str, flags)]) == 0
    running = launch("--model-store", str(store), "--workers", "1")
    assert running.grpc, running.output
    with Client(running.grpc) as client:
        assert {model.name for model in client.models()} == set(NARROW)
        for network, net in nets.items():
            reply = client.explain(photo, model=network, prediction_count=5)
            found = {prediction.index: prediction.logit for prediction in reply.predictions}
            wanted = wanted_logits(net, store / network, photo)
            assert [found[index] for index in range(5)] == pytest.approx(wanted, abs=1e-4), network
            assert reply.explanation.residual.relative < 1e-3, network
    assert running.stop() == 0, running.output
