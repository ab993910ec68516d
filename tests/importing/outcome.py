"""What an import must have done, or left undone."""

import copy

import torch

from showcause.importing.selftest import pictures
from showcause.model import load

# Flags for the small checkpoint.
SMALL = ("--option", "width=8", "--input", "32")


def refused(outcome: tuple[int, str], store, *said: str) -> None:
    code, output = outcome
    assert code in (1, 2), output
    for text in said:
        assert text in output, output
    assert not store.exists() or not list(store.iterdir()), "something is left behind"


def assert_same_network(folder, net) -> None:
    model = load(folder)
    rgb = pictures(model.manifest.input)
    # Against double: 152 layers in float32, twice rounded in two ways, may differ by what the tolerance is.
    exact = copy.deepcopy(net).to(torch.double).run(rgb.double()).logits.float()
    torch.testing.assert_close(model.net.run(rgb).logits, exact, atol=1e-5, rtol=1e-4)
