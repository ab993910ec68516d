"""Bring your own: a package of the operator's, a model folder that names its builder, an answer."""

import torch
from safetensors.torch import save_file

from showcause import Client, cli
from showcause.image import decode, frame_of, to_input
from showcause.manifest import read_manifest
from showcause.nets import build
from tests.checkpoints import labels_file

# The example of docs/models.md.
SOURCE = """
from torch import nn


def small(classes, width=32):
    return nn.Sequential(
        nn.Conv2d(3, width, 7, stride=4), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes),
    )
"""


def test_an_operators_network_is_imported_and_served(launch, tmp_path, photo, monkeypatch):
    (tmp_path / "packages/ournets").mkdir(parents=True)
    (tmp_path / "packages/ournets/__init__.py").write_text("")
    (tmp_path / "packages/ournets/zoo.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    torch.manual_seed(0)
    net = build("python:ournets.zoo:small", 3, {"width": 16}).eval()
    save_file(net.state_dict(), tmp_path / "small.safetensors")
    store = tmp_path / "store"
    command = ["models", "import", "own", "--network", "python:ournets.zoo:small", "--option", "width=16"]
    command += ["--weights", tmp_path / "small.safetensors", "--labels", labels_file(tmp_path, 3), "--input", "96"]
    assert cli.main([*map(str, command), "--model-store", str(store)]) == 0

    running = launch("--model-store", str(store), PYTHONPATH=str(tmp_path / "packages"))
    assert running.grpc, running.output
    with Client(running.grpc) as client:
        reply = client.explain(photo, methods=["cam", "grad_cam"], prediction_count=3)
        assert client.model("own").network == "python:ournets.zoo:small"
    image = decode(photo)
    rgb = torch.from_numpy(to_input(image, frame_of(image.size, None, read_manifest(store / "own").input)))
    wanted = net.run(rgb[None]).logits[0]
    found = torch.tensor([one.logit for one in sorted(reply.predictions, key=lambda one: one.index)])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    cam, grad_cam = reply.explanations
    assert cam.residual.relative < 1e-3
    places = cam.map.size
    torch.testing.assert_close(
        torch.from_numpy(grad_cam.map), torch.from_numpy(cam.map).clamp_min(0) / places, atol=1e-5, rtol=1e-3
    )
    assert running.stop() == 0, running.output


def test_a_package_that_the_worker_does_not_have_is_told(launch, tmp_path, monkeypatch):
    """Where it is installed for this process and not for the service."""
    test_package = tmp_path / "packages"
    test_package.mkdir()
    (test_package / "elsewhere.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(test_package)
    net = build("python:elsewhere:small", 3, {})
    save_file(net.state_dict(), tmp_path / "small.safetensors")
    command = [
        "models",
        "import",
        "own",
        "--network",
        "python:elsewhere:small",
        "--weights",
        tmp_path / "small.safetensors",
    ]
    command += ["--labels", labels_file(tmp_path, 3), "--input", "96", "--model-store", tmp_path / "store"]
    assert cli.main([*map(str, command)]) == 0
    running = launch("--model-store", str(tmp_path / "store"))
    assert not running.grpc
    assert "elsewhere cannot be imported" in running.output
    assert "No module named 'elsewhere'" in running.output
