"""What is wrong stays out, is told why, and leaves nothing behind."""

import itertools
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from showcause.manifest import sha256_of
from showcause.nets import build
from showcause.nets.base import Tape
from showcause.nets.bcos import BcosNet
from tests.checkpoints import labels_file, saved
from tests.importing.outcome import SMALL, refused
from tests.small_models import calibrated


def test_digests(run, store, good, tmp_path):
    digest, wrong = sha256_of(good), "0" * 64
    renamed = good.rename(tmp_path / "net-20240101.pth")
    refused(run(renamed, *SMALL), store, f"has SHA-256 {digest}", "begins with 20240101")
    refused(run(renamed, *SMALL, "--sha256", wrong), store, f"has SHA-256 {digest}, and --sha256 wants {wrong}")
    refused(run(renamed, *SMALL, "--sha256", "abc"), store, "'abc' is not allowed; 64 hexadecimal digits")
    assert "verified, --sha256 tells the same" in run(renamed, *SMALL, "--sha256", digest.upper())[1]
    plain = renamed.rename(tmp_path / "net-v2.pth")
    assert f"SHA-256 {digest}: compared with nothing" in run(plain, *SMALL, "--force")[1]


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_never_executed(run, store, net, tmp_path, zipped):
    content = {**net.state_dict(), "extra": Malicious(tmp_path / "executed")}
    path = saved(content, tmp_path, _use_new_zipfile_serialization=zipped)
    refused(run(path, *SMALL), store, "it names posix.system", "not loaded", "allowed: a state dict alone")
    assert not (tmp_path / "executed").exists()


def test_a_whole_module_is_refused(run, store, net, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
    refused(run(tmp_path / "net.pth", *SMALL), store, "it names torch.nn.modules.linear.Linear")


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_truncated_files(run, store, net, tmp_path, suffix, share):
    path = tmp_path / f"net.{suffix}"
    if suffix == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=suffix == "pth")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(run(path, *SMALL), store, f"--weights {path}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list; allowed: a state dict"),
        ({}, "holds nothing; allowed: a state dict"),
        ({"epoch": 3}, "holds epoch; allowed: a state dict"),
        ({"state_dict": {"epoch": 3}}, "holds epoch; allowed: a state dict"),
        ({1: torch.zeros(2)}, "holds 1; allowed: a state dict"),
    ],
)
def test_files_without_a_state_dict(run, store, tmp_path, content, message):
    refused(run(saved(content, tmp_path), *SMALL), store, message)


def test_other_kinds_of_file(run, store, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"x")
    refused(run(tmp_path / "net.onnx"), store, "net.onnx: allowed: .pth, .pt, .safetensors")
    refused(run(tmp_path / "none.pth"), store, "none.pth")


def test_tensors_that_differ_are_listed(run, store, net, tmp_path):
    state = net.state_dict()
    shape = tuple(state["conv1.linear.weight"].shape)
    del state["bn1.weight"]
    state |= {f"extra.{index}": torch.zeros(2) for index in range(25)} | {
        "conv1.linear.weight": torch.zeros(8, 3, 7, 7)
    }
    outcome = run(saved(state, tmp_path), *SMALL)
    refused(
        outcome, store, "does not fit --network bcos_resnet18", "1 missing, 25 not expected, 1 of another shape",
        "bn1.weight: missing instead of (8,)", "extra.19: (2,) instead of nothing", "and 5 more not expected",
        f"conv1.linear.weight: (8, 3, 7, 7) instead of {shape}",
    )  # fmt: skip
    assert "extra.20" not in outcome[1]
    assert "these keys fit" not in outcome[1]


def test_another_network_whose_keys_fit_is_named(run, store, tmp_path):
    net = calibrated("bcos_resnet34", 5, 32, width=8)
    refused(run(saved(net.state_dict(), tmp_path), *SMALL), store, "these keys fit bcos_resnet34")
    refused(run(saved(net.state_dict(), tmp_path), "--input", "32", network="bcos_densenet121"), store, "does not fit")


def test_the_number_of_classes_is_said_first(run, store, good, tmp_path):
    labels = labels_file(tmp_path, 6)
    _, output = outcome = run(good, *SMALL, labels=labels)
    refused(outcome, store, f"the head has 5 outputs and {labels} has 6 labels")
    assert "instead of" not in output, "nothing else differs"
    plain = calibrated("bcos_v1_cifar9", 5, 32)
    outcome = run(saved(plain.state_dict(), tmp_path), network="bcos_v1_cifar9", labels=labels)
    refused(outcome, store, "the head has 5 outputs")  # two units each
    _, output = outcome = run(good, "--input", "32", network="bcos_resnet34", labels=labels)
    refused(outcome, store, "the head has 5 outputs", "missing")
    assert output.index("the head has") < output.index("missing")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layer1.0.conv1.linear.weight", torch.nan, "layer1.0.conv1.linear.weight holds NaN or infinity"),
        ("fc.linear.weight", torch.inf, "fc.linear.weight holds NaN or infinity"),
        ("fc.linear.weight", 0.0, "fc.linear.weight has a filter of zeros"),
        ("bn1.running_var", -1.0, "bn1.running_var has a variance below 0"),
        ("bn1.weight", 0.0, "the classes are equal: their logits differ by 0"),
    ],
)
def test_a_network_that_fails_the_self_test_leaves_nothing(run, store, net, tmp_path, key, value, message):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state[key][:] = value
    refused(run(saved(state, tmp_path), *SMALL), store, "the self-test failed: " + message)


def test_untrained_networks_are_refused(run, store, tmp_path):
    net = build("bcos_v1_cifar9", 5, {"gain": 0.01, "temperature": 1.0})
    flags = ("--option", "gain=0.01", "--option", "temperature=1.0")
    outcome = run(saved(net.state_dict(), tmp_path), *flags, network="bcos_v1_cifar9")
    refused(outcome, store, "the classes are equal", "The signal vanishes")


def test_a_network_that_is_not_what_it_promises_is_refused(run, store, good, monkeypatch):
    """Its map does not sum to the logit; it answers differently the second time; it looks at its neighbours."""
    right, calls = BcosNet.run, itertools.count(1)

    def scaled(net, rgb, tape, by, map_by):
        forward = right(net, rgb, tape)
        pull = forward.pull and (lambda rows, signs: forward.pull(rows, signs) * map_by)
        return replace(
            forward, evidence=forward.evidence * by, logits=forward.evidence.detach() * by + forward.bias, pull=pull
        )

    for factors, message in (
        (lambda rgb: (2, 1), "contributions miss the logit minus its bias"),
        (lambda rgb: [next(calls)] * 2, "a second pass over the same input differs"),
        (lambda rgb: [len(rgb)] * 2, "two pictures in one batch and each alone differ"),
    ):

        def wrong(net, rgb, tape=Tape(), factors=factors):
            return scaled(net, rgb, tape, *factors(rgb))

        with monkeypatch.context() as patch:
            patch.setattr(BcosNet, "run", wrong)
            refused(run(good, *SMALL), store, message)


def test_integer_weights_are_refused(run, store, net, tmp_path):
    state = net.state_dict()
    state["bn1.weight"] = torch.ones(8, dtype=torch.int8)
    refused(run(saved(state, tmp_path), *SMALL), store, "bn1.weight is torch.strided of torch.int8")


@pytest.mark.parametrize("name", ["", "../net", "a/b", ".hidden", "a b", "ä", "x" * 101, "net\n"])
def test_bad_names(run, store, good, name):
    refused(run(good, *SMALL, name=name), store, "NAME is", "allowed: letters, digits, '-', '_' and '.'")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--option", "width=x"), "is no TOML value"),
        (("--option", "width"), "is no TOML value"),
        (("--option", "a-b=1"), "KEY=VALUE"),
        (("--option", "width=1\nb=2"), "KEY=VALUE"),
        (("--option", "width=2024-01-01"), "is a date"),
        (("--option", "height=8"), "network_options of bcos_resnet18"),
        (("--option", "width=-8"), "width"),
        (("--option", "blocks=3"), "blocks"),
        (("--option", "temperature=0"), "temperature is 0"),
        (("--input", "7"), "each from 8 to 4096"),
        (("--input", "8x9x9"), "SIDE or WIDTHxHEIGHT"),
        (("--crop", "1.5"), "above 0, up to 1"),
        (("--crop", "nan"), "above 0, up to 1"),
        (("--preprocessing", "stretch"), "invalid choice"),
        (("--network", "resnet18"), "network is 'resnet18'; allowed: bcos_resnet18, "),
        (("--network", "interpretable_alexnet"), "network is 'interpretable_alexnet'; allowed: bcos_resnet18, "),
        (("--network", "bcos_v1_inception3", "--input", "32"), "--input 32x32: network bcos_v1_inception3 cannot run"),
    ],
)
def test_flags_that_are_wrong(run, store, good, flags, message):
    refused(run(good, *flags), store, message)
