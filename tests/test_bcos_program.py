"""B-cos networks as programs: the logits and linear maps that autograd takes, with no convolution too many."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from showcause.layers.bcos import BcosConv2d, UncentredNorm2d, add_inverse
from showcause.methods import Ask, linear_map
from showcause.methods.linear_map import settle
from showcause.nets import build
from showcause.nets.base import Tape
from showcause.nets.bcos_program import Conv, Program, Unsupported
from showcause.reply import ClassTarget, Difference, Neuron
from showcause.v1 import method_pb2
from tests import golden_files
from tests.counting import Counting
from tests.small_models import calibrate, calibrated
from tests.test_linear_map import relative

HELD = Tape(start="input", hold=True)
NETWORKS = {  # one of each kind; `showcause models import` tries all that are published
    "bcos_vgg": {"stages": ((8, 8), (16,), (24, 24))},
    "bcos_resnet18": {"width": 8},
    "bcos_resnet50": {"width": 8},
    "bcos_densenet121": {"growth": 8, "width": 16},
    "bcos_v1_vgg11": {"stages": ((8,), (16,), (16, 16)), "hidden": (12, 12)},
    "bcos_v1_inception3": {"narrow": 8},
    "bcos_v1_cifar9": {},
}
WITH_WEIGHTS = settle(method_pb2.Method(linear_map=method_pb2.LinearMap(include_weights=True)), "")


def size_of(name: str) -> int:
    return 80 if "inception" in name else 32


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def pair(request):
    """A network twice, in double: by autograd, and prepared; and photos."""
    size = size_of(request.param)
    nets = [calibrated(request.param, 5, size, **NETWORKS[request.param]).double() for _ in range(2)]
    nets[1].prepare()
    return *nets, torch.rand(3, 3, size, size, dtype=torch.double)


def test_a_program_is_the_network(pair):
    by_autograd, prepared, rgb = pair
    targets = [ClassTarget(1, ""), Difference(ClassTarget(4, ""), ClassTarget(0, "")), ClassTarget(2, "")]
    asks = [Ask(row, target, WITH_WEIGHTS) for row in (2, 0) for target in targets]
    asks.append(Ask(1, targets[1], WITH_WEIGHTS))
    wanted, found = by_autograd.run(rgb, HELD), prepared.run(rgb, HELD)
    assert found.pull is not None
    assert wanted.pull is None
    assert relative(found.evidence.numpy(), wanted.evidence.detach().numpy()) < 1e-12
    assert torch.equal(found.bias, wanted.bias)
    for one, other in zip(linear_map.explain(found, asks), linear_map.explain(wanted, asks), strict=True):
        assert relative(one.weights, other.weights) < 1e-6  # given as float32
        assert relative(one.map, other.map) < 1e-6
        assert one.evidence[0].relative < 1e-9
    predicted = prepared.run(rgb)
    assert torch.equal(predicted.logits, found.logits), "the same steps"
    assert predicted.pull is None


def test_units_inside_are_still_asked_of_autograd(pair):
    """What is folded together has no values between."""
    by_autograd, prepared, rgb = pair
    name = next(name for name, module in prepared.named_modules() if isinstance(module, UncentredNorm2d | BcosConv2d))
    tape = HELD | Tape(frozenset([name]))
    target = Neuron(name, 1, (2, 2))
    maps = [
        linear_map.explain(net.run(rgb, tape), [Ask(0, target, WITH_WEIGHTS)])[0] for net in (by_autograd, prepared)
    ]
    assert relative(maps[1].map, maps[0].map) < 1e-6


def test_it_takes_one_walk_for_each_target_and_no_more(pair):
    _, prepared, rgb = pair
    program = prepared.program
    steps = sum(isinstance(step, Conv) for step in program.steps)
    back = steps - program.steps[-1].can_pull_rows  # the head's transpose is a product with the row of one class
    for targets in (0, 1, 3):
        with Counting() as counting:
            forward = prepared.run(rgb, HELD if targets else Tape())
            asks = [Ask(row, ClassTarget(index, ""), WITH_WEIGHTS) for row in range(3) for index in range(targets)]
            linear_map.explain(forward, asks)
        assert counting.convolutions == steps + targets * back, counting.counts
        assert not counting.backwards
        assert not forward.evidence.requires_grad


def test_photos_that_share_a_pass_share_nothing_else(pair):
    _, prepared, rgb = pair
    alone = [
        linear_map.explain(prepared.run(one[None], HELD), [Ask(0, ClassTarget(3, ""), WITH_WEIGHTS)]) for one in rgb
    ]
    asks = [Ask(row, ClassTarget(3, ""), WITH_WEIGHTS) for row in range(3)]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: linear_map.explain(prepared.run(rgb, HELD), asks), range(16)):
            for one, (other,) in zip(found, alone, strict=True):
                assert relative(one.weights, other.weights) < 1e-6


@pytest.mark.parametrize("name", ["bcos_resnet18", "bcos_densenet121"])
def test_programs_give_the_official_numbers(name):
    net = build(name, 10, {}).eval().requires_grad_(False)
    net.load_state_dict(golden_files.state_dict(name))
    net.prepare()
    golden = golden_files.arrays(name)
    forward = net.run(torch.from_numpy(golden["input_u8"]).float() / 255, HELD)
    assert relative(forward.evidence.numpy(), golden["logits_f64"] - golden["logit_bias"]) < 1e-4


class Odd(nn.Module):
    """What no published network does: groups, a norm behind MaxOut, ReLU behind every kind of layer, negative gains."""

    def __init__(self, b: float, max_out: int, groups: int):
        super().__init__()
        self.first = BcosConv2d(6, 8, 5, 3, 2, b=b, gain=3.0)
        self.norm = UncentredNorm2d(8)
        self.second = BcosConv2d(8, 8, 3, 2, 1, groups=groups, b=b, max_out=max_out)
        self.after = UncentredNorm2d(8)
        self.third = BcosConv2d(8, 4, (1, 3), 1, (0, 1), b=b, max_out=max_out)
        self.last = BcosConv2d(12, 3, 3, 1, 1, b=b)
        self.pool = nn.AvgPool2d(3, 2, 1)

    def scores(self, x: torch.Tensor, hold: bool) -> torch.Tensor:
        x = F.relu(self.norm(self.first(x, hold)))
        x = F.relu(self.after(self.second(x, hold)))
        y = F.relu(self.third(x, hold))
        x = F.relu(torch.cat([x, y], 1) + torch.cat([y, x], 1))
        return self.last(self.pool(x), hold)

    def held_scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(x, True)


@pytest.mark.parametrize("b", [1.0, 1.25, 2.0, 2.5])
@pytest.mark.parametrize(("max_out", "groups"), [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_every_step_has_its_transpose(b, max_out, groups):
    torch.manual_seed(0)
    net = Odd(b, max_out, groups).double()
    for norm in (net.norm, net.after):
        nn.init.normal_(norm.weight)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    net.eval().requires_grad_(False)
    x = add_inverse(torch.rand(2, 3, 30, 33, dtype=torch.double)).requires_grad_()
    wanted = net.scores(x, True)
    channels, weights = torch.tensor([[2, 0], [1, 1]]), torch.tensor([[1.0, -0.5], [2.0, 0.25]], dtype=torch.double)
    (slopes,) = torch.autograd.grad((wanted.mean((2, 3)).gather(1, channels) * weights).sum(), x)
    with torch.no_grad():
        program = Program(net)
        done = program.run(x.detach())
        pulled = program.pull(done, [0, 1], channels, weights)
        swapped = program.pull(done, [1], channels[1:], weights[1:])
    assert relative(done.scores.numpy(), wanted.detach().numpy()) < 1e-12
    assert relative(pulled.numpy(), slopes.numpy()) < 1e-12
    assert relative(swapped.numpy(), slopes[1:].numpy()) < 1e-12


def test_what_no_step_can_do_is_refused():
    class Other(nn.Module):
        def held_scores(self, x):
            return x.tanh()

    with pytest.raises(Unsupported, match="tanh"):
        Program(Other())


def test_weights_that_change_later_change_nothing():
    """So that nobody relies on it: whoever changes weights prepares anew."""
    net = calibrated("bcos_resnet18", 5, 32)
    rgb = torch.rand(1, 3, 32, 32)
    net.prepare()
    before = net.run(rgb).logits
    calibrate(net, 32)
    net.fc.linear.weight.data.mul_(-1)
    assert torch.equal(net.run(rgb).logits, before)
    net.prepare()
    assert not torch.equal(net.run(rgb).logits, before)
