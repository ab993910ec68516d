"""2,000 photos broken at random, through a stream of the running service: each is explained or refused."""

from collections import Counter

from PIL import Image

from showcause import Client
from tests.mutations import mutated, seeds
from tests.processes import family, resident_mb
from tests.small_models import write_model

CORPUS = 2000
REFUSALS = {"IMAGE_NOT_DECODABLE", "INPUT_TOO_LARGE"}


def test_broken_photos_are_explained_or_refused_and_break_nothing(launch, chelsea: Image.Image, tmp_path):
    write_model(tmp_path / "store" / "small", size=32, width=4)
    running = launch("--model-store", str(tmp_path / "store"))
    before = family(running.process.pid)
    originals = seeds(chelsea)
    with Client(running.grpc) as client:
        for original in originals:
            assert client.explain(original).predictions
        outcomes, wrong = Counter(), []
        for done in client.explain_stream(mutated(originals, CORPUS)):
            outcomes[done.error.reason if done.error else "explained"] += 1
            if done.error and (done.error.reason not in REFUSALS or done.error.field != "input.image"):
                wrong.append((done.id, str(done.error)))
    print(f"of {CORPUS}: {dict(outcomes)}")
    assert not wrong
    assert sum(outcomes.values()) == CORPUS
    assert outcomes["explained"] > CORPUS // 10, "the mutations leave some photos readable"
    assert outcomes["IMAGE_NOT_DECODABLE"] > CORPUS // 10
    assert family(running.process.pid) == before, "no process died and was replaced"
    assert resident_mb(before["worker"]) < 1500
    assert "Traceback" not in running.output
