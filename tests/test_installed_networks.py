"""Bring your own: networks that an operator's package builds."""

import itertools

import pytest
import torch
from safetensors.torch import save_file

from showcause.importing.toml import model_toml
from showcause.manifest import ManifestError, read_manifest, sha256_of
from showcause.model import layers_of, load
from showcause.nets import build
from showcause.nets.base import Tape

# A package as an operator would install it; the activation works in place.
SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F

class Tiny(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, stride=2)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(width, width, 3)
        self.last = nn.Linear(width, classes)

    def forward(self, x):
        return self.last(F.relu_(self.second(self.act(self.first(x)))).mean((2, 3)))

def tiny(classes, width=4):
    assert classes > 1
    return Tiny(classes, width)

def by_numbers(classes):
    return Tiny(classes, int(torch.linspace(0, 4, 2)[-1].item()))

def raising(classes):
    raise KeyError("weights")

def nothing(classes):
    return None

class Parts(Tiny):
    def forward(self, x):
        return {"logits": super().forward(x)}

def not_logits(classes):
    return Parts(classes, 4)

constant = 3
"""
numbers = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of a module that can be imported; each test's own."""
    name = f"operators_nets_{next(numbers)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "broken.py").write_text("import a_package_that_is_not_there")
    (tmp_path / name / "zoo.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}.zoo"


def folder_of(tmp_path, network: str, **options: object):
    folder = tmp_path / "store/mine"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(build(network, 3, options).state_dict(), folder / "weights.safetensors")
    (folder / "labels.txt").write_text("a\nb\nc\n")
    settings = {
        "name": "mine", "version": "1.0", "description": "an operator's", "network": network,
        "probability": "softmax", "methods": ["grad_cam"],
        "weights_sha256": sha256_of(folder / "weights.safetensors"),
        "input": {"width": 32, "height": 32, "preprocessing": "squash"},
        "network_options": options,
    }  # fmt: skip
    (folder / "model.toml").write_text(model_toml(settings))
    return folder


def test_an_operators_network_is_loaded_with_its_options(package, tmp_path):
    folder = folder_of(tmp_path, f"python:{package}:tiny", width=6, mean=[0.5, 0.5, 0.5])
    model = load(folder)
    assert model.layers == {"first": (6, 15, 15), "act": (6, 15, 15), "second": (6, 13, 13)}
    assert layers_of(model.manifest) == model.layers
    rgb = torch.rand(2, 3, 32, 32)
    expected = model.net.module((rgb - 0.5) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
    torch.testing.assert_close(model.net.run(rgb).logits, expected)


def test_what_is_read_of_a_layer_stays_as_it_was(package, tmp_path):
    """ReLU works in place on what the convolution gave, as a module and as a function."""
    net = build(f"python:{package}:tiny", 3, {}).eval()
    rgb = torch.rand(1, 3, 32, 32)
    for start in ("nowhere", "layers", "input"):
        found = net.run(rgb, Tape(frozenset(["first", "second"]), start)).activations
        assert (found["first"] < 0).any()
        assert (found["second"] < 0).any(), start


def test_builders_that_need_numbers_have_them(package, tmp_path):
    """Layers are shown from shapes alone where the network is ours; an operator's builder may compute."""
    folder = folder_of(tmp_path, f"python:{package}:by_numbers")
    assert layers_of(read_manifest(folder))["second"] == (4, 13, 13)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("python:{package}:none", "has no attribute 'none'; allowed: a function of"),
        ("python:{package}x:tiny", "cannot be imported by .*: ModuleNotFoundError: No module named"),
        ("python:{parent}.broken:tiny", "cannot be imported by .*No module named 'a_package_that_is_not_there'"),
        ("python:{package}:raising", r"raising\(3, \*\*\{\}\) raised KeyError: 'weights'"),
        ("python:{package}:nothing", "nothing returned a NoneType; allowed: a torch.nn.Module"),
        ("python:{package}:constant", r"constant\(3, \*\*\{\}\) raised TypeError: 'int' object is not callable"),
        ("python:{package}", "allowed: python:PACKAGE.MODULE:BUILDER"),
    ],
)
def test_builders_that_are_wrong(package, network, message):
    network = network.format(package=package, parent=package.split(".")[0])
    with pytest.raises(ValueError, match=message) as caught:
        build(network, 3, {})
    assert repr(network) in str(caught.value)


def test_options_that_a_builder_does_not_know_are_named(package):
    with pytest.raises(ValueError, match=r"tiny\(3, \*\*\{'depth': 3\}\) raised TypeError: .* 'depth'"):
        build(f"python:{package}:tiny", 3, {"depth": 3, "mean": [0, 0, 0]})


def test_answers_that_are_no_logits_are_told_when_the_model_is_loaded(package, tmp_path):
    with pytest.raises(ManifestError, match=r"the network answers dict; needed: \(1, 3\), a logit a class"):
        load(folder_of(tmp_path, f"python:{package}:not_logits"))


@pytest.mark.parametrize(
    "network", ["python:", "python:os", "python:os:", "python::system", "python:os:a b", "python:a/b:c"]
)
def test_a_manifest_checks_the_spelling_and_runs_nothing(package, tmp_path, network):
    folder = folder_of(tmp_path, f"python:{package}:tiny")
    text = (folder / "model.toml").read_text().replace(f"python:{package}:tiny", network)
    (folder / "model.toml").write_text(text)
    with pytest.raises(ManifestError, match=f"network is '{network}'; allowed: python:PACKAGE.MODULE:BUILDER"):
        read_manifest(folder)


def test_reading_a_manifest_imports_no_code(tmp_path, package):
    folder = folder_of(tmp_path, f"python:{package}:tiny")
    text = (folder / "model.toml").read_text().replace(f"python:{package}:tiny", "python:this_is_not_there:tiny")
    (folder / "model.toml").write_text(text)
    assert read_manifest(folder).network == "python:this_is_not_there:tiny"
    with pytest.raises(ManifestError, match=r"mine/model.toml: network is 'python:this_is_not_there:tiny'"):
        load(folder)
