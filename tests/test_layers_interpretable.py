"""The interpretable layer against golden numbers, the slow reference, closed forms and what it must never do."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from showcause.layers import interpretable as layer
from tests import golden_files
from tests.reference import interpretable as reference

GOLDEN, FACTS = golden_files.arrays("icnn"), golden_files.facts("icnn")
RELATIVE = 1e-9
SIZES = (6, 7, 14)
SETS = ("a", "b", "c")


def golden(key: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(GOLDEN[key]))


def maps_of(name: str) -> torch.Tensor:
    """One filter's maps on a golden batch: (12, 1, 6, 6), float64."""
    return golden(f"loss_{name}.X")[:, None].clone().requires_grad_()


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-9 of the largest entry."""
    assert found.dtype == expected.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=RELATIVE * float(expected.abs().max()))


def random_maps(n: int, pictures: int = 9, filters: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(pictures, filters, n, n, generator=generator, dtype=torch.float64).relu()


@pytest.mark.parametrize("n", SIZES)
def test_templates(n: int):
    found = layer.templates(n, dtype=torch.float64)
    assert_near(found[:-1].unflatten(1, (n, n)), golden(f"T_n{n}"))
    assert_near(found[-1].view(n, n), golden(f"Tneg_n{n}"))
    np.testing.assert_allclose(found.numpy(), [t.ravel() for t in reference.all_templates(n)], rtol=1e-14)
    assert layer.templates(n).dtype == torch.float32


@pytest.mark.parametrize("n", SIZES)
def test_strongest_places_and_masks(n: int):
    x = golden(f"x_n{n}")[None]  # eight filters on one picture
    places = layer.strongest_places(x)
    assert torch.equal(places[0], golden(f"muhat_n{n}"))
    templates = layer.tau(n) * layer.mask(places, n, dtype=torch.float64)
    for row, (i, j) in enumerate(places[0].tolist()):
        assert_near(templates[0, row], golden(f"T_n{n}")[i * n + j])


def bare(setting: layer.Setting, filters: int = 8, masked: bool = True) -> layer.InterpretableConv2d:
    """A layer whose convolution passes its input on: what is left is the ReLU and the mask."""
    module = layer.InterpretableConv2d(filters, filters, 3, 1, setting, masked).double()
    with torch.no_grad():
        module.conv.weight.copy_(torch.eye(filters)[..., None, None])
        module.conv.bias.zero_()
    return module


@pytest.mark.parametrize("n", SIZES)
def test_masked_maps_and_their_gradient(n: int):
    x, v = golden(f"x_n{n}")[None].clone().requires_grad_(), golden(f"v_n{n}")[None]
    found = bare("paper")(x)
    assert_near(found[0], golden(f"masked_n{n}"))
    np.testing.assert_allclose(found[0].detach(), [reference.masked(one) for one in x[0].detach().numpy()], atol=1e-15)
    (gradient,) = torch.autograd.grad((v * bare("paper").focus(x)).sum(), x)
    assert_near(gradient[0], golden(f"grad_masked_n{n}"))


@pytest.mark.parametrize("name", SETS)
def test_likelihoods_and_loss(name: str):
    x = maps_of(name)
    given, marginal, log_z = layer.log_likelihoods(x)
    assert_near(given[:, 0], golden(f"loss_{name}.log_px_given_T"))
    assert_near(marginal[:, 0], golden(f"loss_{name}.log_px"))
    assert_near(log_z[0], golden(f"loss_{name}.logZ"))
    assert_near(layer.mutual_information_loss(x), golden(f"loss_{name}.value")[None])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("hold", "key"), [(True, "grad_constZ"), (False, "grad_fullZ")])
def test_gradient_of_the_loss(name: str, hold: bool, key: str):
    x = maps_of(name)
    (gradient,) = torch.autograd.grad(layer.mutual_information_loss(x, hold).sum(), x)
    assert gradient.isfinite().all()
    assert_near(gradient[:, 0], golden(f"loss_{name}.{key}"))


@pytest.mark.parametrize("name", SETS)
def test_gradient_by_the_chosen_template_alone(name: str):
    found = layer.one_template_gradient(maps_of(name).detach(), golden(f"loss_{name}.is_target")[:, None])
    assert_near(found[:, 0], golden(f"loss_{name}.grad_approx"))


def test_loss_is_that_of_the_definition_for_each_filter_of_a_batch():
    x = 20 * random_maps(5)
    found = layer.mutual_information_loss(x)
    for k in range(4):
        assert found[k].item() == pytest.approx(reference.loss(list(x[:, k].numpy())), rel=1e-9)
        given, marginal, z = reference.probabilities(list(x[:, k].numpy()))
        logs = layer.log_likelihoods(x)
        np.testing.assert_allclose(logs[0][:, k].exp(), given, rtol=1e-9)
        np.testing.assert_allclose(logs[1][:, k].exp(), marginal, rtol=1e-9)
        np.testing.assert_allclose(logs[2][k].exp(), z, rtol=1e-9)


@pytest.mark.parametrize("hold", [False, True])
def test_gradcheck(hold: bool):
    x = (30 * random_maps(4, pictures=3, filters=2) + 0.1).requires_grad_()
    if not hold:
        assert torch.autograd.gradcheck(lambda x: layer.mutual_information_loss(x, False), x)
        return
    # With Z_T a constant, the gradient is that of the loss whose Z_T is taken from here once and for all.
    match = x.detach().flatten(2) @ layer.templates(4, dtype=torch.float64).T
    held = match.logsumexp(0)

    def loss(x: torch.Tensor) -> torch.Tensor:
        given = x.flatten(2) @ layer.templates(4, dtype=torch.float64).T - held
        marginal = given.logsumexp(2) - math.log(17)
        return -(given.exp() * (given - marginal[..., None])).sum((0, 2)) / 17

    assert torch.autograd.gradcheck(loss, x)
    ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (layer.mutual_information_loss, loss))
    assert_near(ours, theirs)


def test_the_loss_falls_along_its_gradient():
    """Eq. 4 as printed would raise it."""
    x = maps_of("a")
    before = layer.mutual_information_loss(x)
    (gradient,) = torch.autograd.grad(before.sum(), x)
    after = layer.mutual_information_loss(x.detach() - 1e-3 * gradient / gradient.abs().max())
    assert after < before


def test_large_activations_give_no_nan():
    x = (1e5 * random_maps(6)).float().requires_grad_()
    value = layer.mutual_information_loss(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_category_of_a_filter():
    x, labels = golden("assign.X").transpose(0, 1), golden("assign.labels")
    mean = layer.category_means(x, labels, 4)
    assert_near(mean, golden("assign.mean_sum"))
    assert torch.equal(mean.argmax(1), golden("assign.category"))
    # Two near misses that the golden file was made to tell apart.
    sums = torch.stack([x.sum((2, 3))[labels == c].sum(0) for c in range(4)], 1)
    peaks = torch.stack([x.amax((2, 3))[labels == c].mean(0) for c in range(4)], 1)
    note = FACTS["assign_note"]
    for wrong, key in ((sums, "sum_instead_of_mean"), (peaks, "max_instead_of_sum_ij")):
        differing = (wrong.argmax(1) != golden("assign.category")).nonzero().flatten().tolist()
        assert differing == note[f"filters_where_{key}_differs"]


def test_category_is_learned_on_line():
    module = layer.InterpretableConv2d(1, 1, 3)
    assert module.category.tolist() == [layer.NO_CATEGORY]
    ones = torch.ones(2, 1, 2, 2)
    # First batch: 4 on class 0 and 8 on class 1, taken as they are. The picture without a label counts for none.
    module.assign(
        torch.cat([ones, 100 * ones[:1]]) * torch.tensor([1.0, 2, 1]).view(3, 1, 1, 1), torch.tensor([0, 1, -1])
    )
    assert module.seen.tolist() == [[4, 8, 0]]
    assert module.category.tolist() == [1]
    # Second: 84 on class 0: 0.9 * 4 + 0.1 * 84 = 12. Class 1 is absent and stays.
    module.assign(21 * ones, torch.tensor([0, 0]))
    torch.testing.assert_close(module.seen, torch.tensor([[12.0, 8, 0]]))
    assert module.category.tolist() == [0]
    assert "category" in module.state_dict()


@pytest.mark.parametrize("n", SIZES)
def test_released_setting(n: int):
    x = random_maps(n, pictures=5, filters=8)
    x[0, 0] = 0
    x[1, 1] = 0
    x[1, 1, 0, n - 1] = 3  # all mass in a corner
    module = bare("released")
    slopes = torch.tensor([0.0, 1.5, 2, 2.5, 3, 7, -1, 2], dtype=torch.float64)  # 0, -1 and 7 are clamped
    with torch.no_grad():
        module.slope.copy_(slopes)
    places, found = layer.centers_of_mass(x), module(x)
    for s in range(5):
        for k in range(8):
            one = x[s, k].numpy()
            assert tuple(places[s, k].tolist()) == reference.center_of_mass(one)
            expected = reference.released_masked(one, slopes[k].item())
            np.testing.assert_allclose(found[s, k].detach(), expected, rtol=0, atol=1e-12)
    assert places[1, 1].tolist() == [0, n - 1]
    assert found[0, 0].eq(0).all()
    (gradient,) = torch.autograd.grad(found.sum(), module.slope)
    assert gradient.isfinite().all()
    assert gradient[[0, 5, 6]].eq(0).all(), "beyond its bounds a slope does not move"


def test_an_empty_map_stays_empty_and_harmless():
    empty = torch.zeros(2, 8, 6, 6, dtype=torch.float64, requires_grad=True)
    for setting in layer.SETTINGS:
        out = bare(setting)(empty)
        (gradient,) = torch.autograd.grad(out.sum(), empty)
        assert out.eq(0).all()
        assert gradient.isfinite().all()
    targets = torch.ones(2, 8, dtype=torch.bool)
    assert layer.mutual_information_loss(empty).isfinite().all()
    assert layer.released_gradient(empty.detach(), targets, 2.0).isfinite().all()
    assert layer.peak_loss(empty, targets).item() == pytest.approx(math.log1p(math.exp(2)))


@pytest.mark.parametrize("setting", layer.SETTINGS)
def test_masks_keep_at_most_the_part(setting: layer.Setting):
    x = random_maps(7, filters=8)
    out = bare(setting)(x)
    assert (out >= 0).all()
    assert (out <= x).all()
    assert (out < x).any(), "something lies away from the part"
    if setting != "released":
        before, after = layer.strongest_places(x), layer.strongest_places(out)
        assert torch.equal(before, after)
        # Templates fall to 0 at n / beta = 1.75 places from the part.
        place = torch.arange(7)
        distance = (place[:, None] - before[..., :1, None]).abs() + (place - before[..., 1:, None]).abs()
        assert out[distance >= 2].eq(0).all()
    np.testing.assert_array_equal(bare(setting, masked=False)(x).detach(), x)


def test_released_gradient_by_hand():
    # n = 2, slope 4: the mask is 1 at the peak and -1 elsewhere; the centre of mass is the one active place.
    # Pictures 1 and 2 are targets: s = mean(x * mask) = 1 and 0.5. Picture 3 is not: s = -mean(x) = -0.25.
    x = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    x[0, 0, 0, 0], x[1, 0, 1, 1], x[2, 0, 0, 1] = 4, 2, 1
    found = layer.released_gradient(x, torch.tensor([[True], [True], [False]]), 4.0)[:, 0]
    # For the third, as for all, mean(x * mask) counts in Z: 0.25.
    log_z = math.log((math.exp(2) + math.exp(1) + math.exp(0.5)) / 3)
    strengths = [math.exp(s / 0.5) * (s - 0.5 * log_z + 0.5) for s in (1, 0.5)]
    mean = sum(strengths) / 2
    assert_near(found[0], -strengths[0] / mean * torch.tensor([[1, -1], [-1, -1]], dtype=torch.float64))
    assert_near(found[1], -strengths[1] / mean * torch.tensor([[-1, -1], [-1, 1]], dtype=torch.float64))
    assert_near(found[2], torch.ones(2, 2).double())  # alone, its strength is its mean


def test_in_bfloat16_the_mask_is_not_rounded():
    x, setting = random_maps(14, filters=8).bfloat16(), "tracked"
    mask = layer.mask(layer.strongest_places(x), 14, dtype=layer.precision(x))
    assert mask.dtype == torch.float32
    torch.testing.assert_close(bare(setting).focus(x), F.relu(x.float() * mask), rtol=0, atol=0)


def test_an_ordinary_twin_is_convolution_and_relu():
    module = layer.InterpretableConv2d(2, 3, 4, masked=False)
    x = torch.randn(1, 2, 5, 5)
    torch.testing.assert_close(module(x), F.relu(F.conv2d(x, module.conv.weight, module.conv.bias, padding=1)))
    assert "category" not in module.state_dict()


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"'papers'; allowed: paper, released, tracked"):
        layer.InterpretableConv2d(1, 1, 1, setting="papers")
    with pytest.raises(ValueError, match="square: 3 x 2"):
        layer.InterpretableConv2d(1, 1, 1)(torch.zeros(1, 1, 2, 3))


def test_released_gradient_stays_bounded_where_targets_are_silent():
    # Then s - 0.5 log Z + 0.5 can be negative, and its mean near 0.
    x = random_maps(6, filters=8) * 20
    targets = torch.zeros(len(x), 8, dtype=torch.bool)
    targets[:3] = True
    x[:3] = 0.01
    assert layer.released_gradient(x, targets, 4.0).abs().max() < len(x) + 1
