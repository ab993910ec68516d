"""What the recipes of animals-parts and animals-cnn share."""

from functools import partial

import pytest
import torch

from showcause.nets import build
from showcause.train.animal_nets import as_plain, as_served
from tests.small_models import lively


def test_a_twin_becomes_a_plain_alexnet_that_answers_alike():
    twin = lively(4, (), filters=24, masked=False)
    plain = as_plain(twin)
    rgb = torch.rand(3, 3, 224, 224)
    wanted, found = twin.run(rgb).logits, plain.run(rgb).logits
    assert (wanted.amax(1) - wanted.amin(1)).min() > 1, "a test of nothing"
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert list(plain.state_dict())[-2:] == ["classifier.weight", "classifier.bias"]


def test_the_head_is_for_the_number_of_places():
    """At 160 px the grid has 9 x 9 places."""
    twin = lively(4, (), filters=24, masked=False)
    rgb = torch.rand(2, 3, 160, 160)
    wanted = twin.run(rgb).logits
    torch.testing.assert_close(as_plain(twin, 9).run(rgb).logits, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert not torch.allclose(as_plain(twin).run(rgb).logits, wanted, rtol=0.01)


def test_a_twin_of_vgg16_becomes_a_plain_vgg16():
    """At 32 px the grid has 2 x 2 places."""
    torch.manual_seed(0)
    twin = build("interpretable_vgg16", 4, {"filters": 8, "masked": False}).eval()
    rgb = torch.rand(2, 3, 32, 32)
    wanted, found = twin.run(rgb).logits, as_plain(twin, 2, "plain_vgg16").run(rgb).logits
    assert wanted.abs().max() > 1e-3, "a test of nothing"
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("options", [{"masked": True}, {"masked": False, "head": "full", "hidden": 8}])
def test_other_networks_are_no_plain_alexnet(options):
    with pytest.raises(ValueError, match="only an ordinary twin with the linear head"):
        as_plain(lively(4, (0,), filters=4, **options))


def test_what_is_measured_is_what_is_written(tmp_path):
    """Filters are rounded to float16 on the way."""
    net = as_plain(lively(4, (), filters=4, masked=False))
    untrained = partial(build, "plain_alexnet", 4, {"head": "pooled", "added": 4})
    served = as_served(net, untrained, tmp_path / "weights.safetensors").state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(served[key], value.half().float() if value.ndim == 4 else value), key
    assert not torch.equal(served["features.0.weight"], net.state_dict()["features.0.weight"])
    assert (tmp_path / "weights.safetensors").stat().st_size < 5.3e6
