"""Every official network comes in, in whatever it is wrapped, and answers as it did."""

import json

import pytest
import torch
from safetensors.torch import save_file

from showcause.importing import checkpoint
from showcause.importing.selftest import self_test
from showcause.manifest import read_manifest
from tests.checkpoints import NARROW, as_options, saved
from tests.importing.outcome import SMALL, assert_same_network
from tests.small_models import calibrated


@pytest.mark.parametrize("network", NARROW)
def test_every_official_network(run, store, tmp_path, network):
    options = NARROW[network]
    net = calibrated(network, 5, **options)
    code, output = run(saved(net.state_dict(), tmp_path), *as_options(options), "--input", "64", network=network)
    assert code == 0, output
    assert "as the file name tells" in output
    assert output.count("self-test: ") == 6
    assert_same_network(store / "net", net)
    assert [path.name for path in store.iterdir()] == ["net"]


def test_resnet18_in_full_and_halved(run, store, tmp_path):
    net = calibrated("bcos_resnet18", 5)
    code, output = run(saved(net.state_dict(), tmp_path), "--float16", "--description", 'Nets: "five" \\ more')
    assert code == 0, output
    assert "float16 filters change the logits by at most" in output
    assert "the strongest class is the same" in output
    manifest = read_manifest(store / "net")
    assert (manifest.input.width, manifest.input.preprocessing, manifest.input.crop) == (224, "center_crop", 0.875)
    assert (manifest.probability, manifest.methods[:2], manifest.version) == (
        "sigmoid",
        ("linear_map", "grad_cam"),
        "1.0",
    )
    assert manifest.description == 'Nets: "five" \\ more'
    assert 22e6 < manifest.weights_path.stat().st_size < 23e6
    assert "was not measured" in manifest.card
    assert "float16 filters change the logits" in manifest.card


@pytest.mark.parametrize("wrapped", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "model.module."])
def test_what_training_scripts_wrap_around_a_state_dict(run, store, net, tmp_path, wrapped, prefix):
    state = {prefix + key: value for key, value in net.state_dict().items() if not key.endswith(checkpoint.TRACKED)}
    code, output = run(saved({"epoch": 3, wrapped: state, "optimizer": {}}, tmp_path), *SMALL)
    assert code == 0, output
    assert f"taking what is under '{wrapped}'; leaving epoch, optimizer" in output
    assert f"the prefix '{prefix}' is taken off every key" in output
    assert "20 num_batches_tracked are missing and set to 0" in output
    assert_same_network(store / "net", net)


def test_a_prefix_of_the_network_itself_stays(run, store, tmp_path):
    net = calibrated("bcos_v1_cifar9", 5, 32, temperature=1.0)
    weights = saved(net.state_dict(), tmp_path)
    assert all(key.startswith("layers.") for key in net.state_dict())
    code, output = run(weights, "--option", "temperature=1.0", network="bcos_v1_cifar9")
    assert code == 0, output
    assert_same_network(store / "net", net)
    manifest = read_manifest(store / "net")
    assert (manifest.input.width, manifest.input.preprocessing) == (32, "squash")
    assert manifest.network_options == {"temperature": 1.0}


def test_safetensors_and_files_from_before_zip(run, store, net, tmp_path):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    assert run(tmp_path / "net.safetensors", *SMALL)[0] == 0
    old = saved(net.state_dict(), tmp_path, _use_new_zipfile_serialization=False)
    assert run(old, *SMALL, name="old")[0] == 0
    for name in ("net", "old"):
        assert_same_network(store / name, net)


def test_the_shipped_model_passes_the_self_test(model):
    assert len(list(self_test(model))) == 6


def test_norms_that_were_trained_with_centring_are_refused(run, net, tmp_path, store):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["bn1.running_mean"] += 1
    code, output = run(saved(state, tmp_path), *SMALL)
    assert code == 1
    assert "running_mean are not zero, such as bn1.running_mean" in output
    assert not list(store.glob("*"))
    code, output = run(saved(state, tmp_path), *SMALL, "--ignore-centring")
    assert code == 0
    assert "warning: 1 running_mean are not zero" in output


def test_existing_names(run, store, good):
    code, output = run(good, *SMALL)
    assert code == 0, output
    before = (store / "net/model.toml").read_text()
    code, output = run(good, *SMALL, "--version", "2.0")
    assert (code, (store / "net/model.toml").read_text()) == (1, before)
    assert f"{store / 'net'} exists; --force replaces it" in output
    assert run(good, *SMALL, "--force", "--version", "2.0")[0] == 0
    assert read_manifest(store / "net").version == "2.0"
    (store / "mine").mkdir()
    assert "no model.toml; nothing is removed" in run(good, *SMALL, "--force", name="mine")[1]
    (store / "net").rename(store / "other")
    assert "holds a model of the name 'net'" in run(good, *SMALL)[1]
    assert sorted(path.name for path in store.iterdir()) == ["mine", "other"]


def test_a_failed_replacement_keeps_what_was_there(run, store, good, net, tmp_path):
    assert run(good, *SMALL)[0] == 0
    state = {name: tensor * torch.nan if tensor.ndim == 4 else tensor for name, tensor in net.state_dict().items()}
    code, _ = run(saved(state, tmp_path), *SMALL, "--force")
    assert code == 1
    assert_same_network(store / "net", net)
    assert [path.name for path in store.iterdir()] == ["net"]


def test_labels(run, store, good, tmp_path):
    def labelled(content: str, name: str = "classes.json"):
        path = tmp_path / name
        path.write_text(content)
        return run(good, *SMALL, "--force", labels=path)

    imagenet = {
        "0": ["n1", "crane"],
        "1": ["n2", "tench"],
        "2": ["n3", "crane"],
        "3": ["n4", "crane (2)"],
        "4": ["n5", "ä"],
    }
    code, output = labelled(json.dumps(imagenet))
    assert code == 0, output
    assert "class 2 has the label 'crane', too: it becomes 'crane (3)'" in output
    manifest = read_manifest(store / "net")
    assert manifest.labels == ("crane", "tench", "crane (3)", "crane (2)", "ä")
    assert "class 2 has the label 'crane', too" in manifest.card
    for content, name in (('["a", "b", "c", "d", "e"]', "x.json"), ("a\n b \nc\r\nd\ne\n\n", "x.txt")):
        assert labelled(content, name)[0] == 0
        assert read_manifest(store / "net").labels == ("a", "b", "c", "d", "e")
    assert labelled('{"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}')[0] == 0
    for content, message in (
        ('{"0": "a", "2": "b"}', "2 labels, and none has the index 1"),
        ('["a", 2]', "entry 1 is 2"),
        ('["a", "b\\nc"]', "label 1 is 'b\\nc'; allowed: one line"),
        ('["a", ""]', "label 1 is ''; allowed: one line"),
        ('["a"]', "has 1 labels; allowed: at least 2"),
        ("3", "it holds a int"),
        ("{", "allowed: one label a line"),
    ):
        code, output = labelled(content)
        assert (code, message in output) == (1, True), output
    assert "label 1 is ''" in labelled("a\n\nb\n", "x.txt")[1]
