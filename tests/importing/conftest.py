"""``showcause models import`` in this process, and a small checkpoint that it takes."""

import pytest
import torch

from showcause import cli
from tests.checkpoints import labels_file, saved
from tests.small_models import calibrated


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For networks as small as these, threads cost more than they give."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def run(store, tmp_path, capsys):
    """Imports as ``net`` with five labels, unless the flags say otherwise; (code, what it printed)."""

    def run(weights, *flags: str, name: str = "net", network: str = "bcos_resnet18", labels=None):
        path = labels or labels_file(tmp_path, 5)
        named = ["--network", network, "--weights", str(weights), "--labels", str(path), "--model-store", str(store)]
        try:
            code = cli.main(["models", "import", name, *named, *flags])
        except SystemExit as ended:
            code = ended.code
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


@pytest.fixture(scope="module")
def net():
    return calibrated("bcos_resnet18", 5, 32, width=8)


@pytest.fixture
def good(net, tmp_path):
    return saved(net.state_dict(), tmp_path)
