"""The running service through its own clients: right answers, mixed load, health, metrics."""

import asyncio
import io
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from showcause import AsyncClient, Client, cli
from showcause.worker import explain
from tests.hostile_images import encoded
from tests.sameness import assert_same, opened
from tests.test_worker import explain_call

ALL_OUTPUTS = {"pictures": ["overlay", "heat_map", "color"], "weights": True, "top_k": 2}


def test_served_is_the_same_as_bare(client, model, photos):
    for photo in photos:
        (envelope,) = explain(model, [explain_call(photo, **ALL_OUTPUTS)])
        assert_same(client.explain(photo, **ALL_OUTPUTS), opened(envelope))


def test_concurrent_callers_get_their_own_answers(client, model, photos):
    """64 requests from 16 threads, batched by the engine as it likes."""
    requests = [(photo, {"target": n % 30, "map_dtype": "float32"}) for n in range(16) for photo in photos]
    wanted = [opened(explain(model, [explain_call(photo, **wishes)])[0]) for photo, wishes in requests]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda request: client.explain(request[0], **request[1]), requests))
    for reply, twin in zip(found, wanted, strict=True):
        assert_same(reply, twin)
    assert max(reply.timings.batch_size for reply in found) > 1, "the engine batched some of them"


def test_async_client(service, photos):
    async def run():
        async with AsyncClient(service.grpc) as client:
            (model,) = await client.models()
            replies = await asyncio.gather(*(client.explain(photo) for photo in photos))
            predictions = await asyncio.gather(*(client.predict(photo) for photo in photos))
            return model, replies, predictions, await client.model(model.name)

    model, replies, predictions, described = asyncio.run(run())
    assert described.card
    assert described.weights_sha256 == model.weights_sha256
    for reply, prediction in zip(replies, predictions, strict=True):
        assert reply.predictions[0].label == prediction.predictions[0].label
        assert reply.explanation.residual.relative < 1e-4
        assert not prediction.explanations


def test_request_id_is_kept_and_time_is_measured(service, photo):
    with Client(service.grpc, metadata=[("x-request-id", "ward-7.scan-12")]) as client:
        reply = client.explain(photo)
    assert reply.request_id == "ward-7.scan-12"
    stages = reply.timings
    assert stages.total_seconds >= stages.decode_seconds + stages.forward_seconds + stages.explain_seconds > 0


def test_health_of_the_server_the_service_and_the_model(service):
    with grpc.insecure_channel(service.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "showcause.v1.ExplanationService", "animals-bcos"):
            status = stub.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            stub.Check(health_pb2.HealthCheckRequest(service="no-such-model"))


def test_rest_raw_photo_json_and_picture(service, client, photo):
    url = f"{service.rest}/v1/models/animals-bcos"
    kind = {"content-type": "image/jpeg"}
    zero = httpx.post(f"{url}:explain?target=0", content=photo, headers=kind, timeout=60).json()
    assert zero["explanations"][0]["target"]["class_target"] == {"index": 0, "label": "antelope"}
    assert zero["frame"]["seen"]["x_min"] == 0
    raw = httpx.post(f"{url}:explain?target=cat&picture=color", content=photo, headers=kind, timeout=60).json()
    assert raw["explanations"][0]["target"]["class_target"]["label"] == "cat"
    assert raw["explanations"][0]["kind"] == "EXPLANATION_KIND_INHERENT"

    import base64

    body = {"input": {"image": base64.b64encode(photo).decode()}, "targets": [{"label": "cat"}]}
    found = httpx.post(f"{url}:explain", json=body, timeout=60).json()["explanations"][0]["map"]
    sent = np.frombuffer(base64.b64decode(found["data"]), "<f4").reshape(found["height"], found["width"])
    wanted = client.explain(photo, target="cat").explanation.map
    np.testing.assert_allclose(sent, wanted, atol=1e-4 * np.abs(wanted).max())

    png = httpx.post(f"{url}:explain", content=photo, headers=kind | {"accept": "image/png"}, timeout=60)
    assert png.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(png.content)).size == (451, 300)

    predicted = httpx.post(f"{url}:predict?prediction_count=3", content=photo, headers=kind, timeout=60).json()
    assert len(predicted["predictions"]) == 3
    assert "explanations" not in predicted


@pytest.mark.parametrize("kind", ["turned", "grey", "transparent", "CMYK"])
def test_photos_of_every_kind_over_grpc_and_rest(service, client, chelsea, kind):
    """The answer to what a viewer shows; the frame is that of the upright photo."""
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = chelsea.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(chelsea.size))
    white = Image.new("RGBA", chelsea.size, "white")
    data, twin = {
        "turned": (encoded(chelsea.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif.tobytes()), chelsea),
        "grey": (encoded(chelsea.convert("L"), "PNG"), chelsea.convert("L").convert("RGB")),
        "transparent": (encoded(clear, "PNG"), Image.alpha_composite(white, clear).convert("RGB")),
        "CMYK": (encoded(chelsea.convert("CMYK"), "TIFF"), chelsea.convert("CMYK").convert("RGB")),
    }[kind]
    wanted = client.explain(encoded(twin, "PNG"), target="cat", region=(20, 10, 300, 200))
    assert_same(client.explain(data, target="cat", region=(20, 10, 300, 200)), wanted)
    assert (wanted.frame.photo_width, wanted.frame.photo_height) == chelsea.size
    url = f"{service.rest}/v1/models/animals-bcos:predict?prediction_count=5"
    found = httpx.post(url, content=data, headers={"content-type": "application/octet-stream"}, timeout=60).json()
    label = client.predict(encoded(twin, "PNG")).predictions[0].label
    assert found["predictions"][0]["label"] == label
    assert found["frame"]["photo_width"] == chelsea.width


def test_rest_models_and_probes(service):
    get = lambda path: httpx.get(service.rest + path)  # noqa: E731
    assert [model["name"] for model in get("/v1/models").json()["models"]] == ["animals-bcos"]
    assert get("/v1/models/animals-bcos").json()["model"]["card"].startswith("# ")
    assert get("/healthz").json() == {"status": "ok"}
    assert get("/readyz").json() == {"status": "ready"}
    assert get("/v1/nothing").status_code == 404


def test_metrics_count_by_outcome(service, client, photo):
    def count(code: str) -> float:
        text = urllib.request.urlopen(f"{service.metrics}/metrics").read().decode()
        name = f'showcause_requests_total{{code="{code}",model="animals-bcos",operation="predict",'
        return sum(float(line.rsplit(maxsplit=1)[1]) for line in text.splitlines() if line.startswith(name))

    good, bad = count("OK"), count("INVALID_ARGUMENT")
    client.predict(photo)
    with pytest.raises(Exception, match="cannot be decoded"):
        client.predict(b"no photo")
    assert (count("OK"), count("INVALID_ARGUMENT")) == (good + 1, bad + 1)


def test_command_line(service, photo, tmp_path, capsys):
    path, broken = tmp_path / "cat.jpg", tmp_path / "broken.jpg"
    path.write_bytes(photo)
    broken.write_bytes(photo[:500])
    flags = ["--address", service.grpc, "--out", str(tmp_path / "out")]
    assert cli.main(["explain", str(path), *flags, "--target", "cat", "--picture", "overlay"]) == 0
    shown = capsys.readouterr().out
    assert "animals-bcos" in shown
    assert "inherent" in shown
    assert (tmp_path / "out" / "cat.cat-linear_map.overlay.png").exists()

    assert cli.main(["explain", str(path), str(broken), *flags, "--json"]) == 1
    lines = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    first, second = sorted(lines, key=lambda line: line["name"], reverse=True)  # they come as they are ready
    assert first["explanations"][0]["residual"]["relative_residual"] < 1e-4
    assert second["photo"] == str(broken)
    assert "cannot be decoded" in second["error"]

    assert cli.main(["models", "show", "animals-bcos", "--address", service.grpc]) == 0
    assert "bcos_vgg" in capsys.readouterr().out
    assert cli.main(["models", "list", "--address", service.grpc, "--json"]) == 0
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == ["animals-bcos"]


def test_reply_can_be_saved_and_shown(client, photo, tmp_path):
    reply = client.explain(photo, target="cat", pictures=["color"], weights=True)
    written = {path.name for path in reply.save(tmp_path, "chelsea")}
    name = "chelsea.cat-linear_map"
    assert written == {"chelsea.json", f"{name}.color.png", f"{name}.map.npy", f"{name}.weights.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / f"{name}.map.npy"), reply.explanation.map)
    assert reply._repr_png_().startswith(b"\x89PNG")


def test_plain_photo_to_the_handler_is_explained(shipped, photo, monkeypatch):
    """What TorchServe's own REST API gets: a photo and nothing else."""
    import sys

    from showcause.paths import top_level

    sys.path.insert(0, str(top_level("handlers")))
    try:
        import bcos
    finally:
        sys.path.pop(0)
    monkeypatch.setenv("SHOWCAUSE_WORKER_THREADS", "1")
    handler = bcos.BcosHandler()
    properties = {"model_dir": str(shipped), "gpu_id": None}
    handler.initialize(SimpleNamespace(system_properties=properties))
    good, bad, no_photo = handler.handle([{"body": bytearray(photo)}, {"data": b"no photo"}, {"body": {"a": 1}}], None)
    assert json.loads(good)["explanations"][0]["method"] == "linear_map"
    assert "cannot be decoded" in json.loads(bad)["message"]
    assert "missing" in json.loads(no_photo)["message"]
