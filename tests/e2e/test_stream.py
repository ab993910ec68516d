"""Streams against the running service: many photos, bad ones among them, killed and resumed, in constant memory."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import showcause
from showcause import AsyncClient, Client, cli
from showcause.errors import DeadlineExceeded, ShowcauseError, Unavailable
from tests.processes import family, resident_mb
from tests.sameness import assert_same
from tests.small_models import write_model

PHOTOS = 1000
WISHES = {"pictures": ["color"], "top_k": 2, "map_dtype": "float16"}


@pytest.fixture(scope="module")
def thumbnails(photo) -> list[bytes]:
    """Photos that differ: the same one at 50 sizes."""
    image = Image.open(io.BytesIO(photo))
    made = []
    for width in range(100, 150):
        buffer = io.BytesIO()
        image.resize((width, 90)).save(buffer, "JPEG")
        made.append(buffer.getvalue())
    return made


def test_a_stream_gives_what_single_calls_give(client, photos, tmp_path):
    (tmp_path / "one.jpg").write_bytes(photos[1])
    given = [photos[0], tmp_path / "one.jpg", ("third", photos[2]), b"no photo", tmp_path / "missing.jpg"]
    found = {done.id: done for done in client.explain_stream(given, **WISHES)}
    assert set(found) == {"0", str(tmp_path / "one.jpg"), "third", "3", str(tmp_path / "missing.jpg")}
    for name, photo in (("0", photos[0]), (str(tmp_path / "one.jpg"), photos[1]), ("third", photos[2])):
        assert_same(found[name].reply, client.explain(photo, **WISHES))
    with pytest.raises(ShowcauseError) as caught:
        client.explain(b"no photo")
    assert str(found["3"].error) == str(caught.value)
    assert (found["3"].error.reason, found["3"].error.field) == ("IMAGE_NOT_DECODABLE", "input.image")
    assert "No such file" in str(found[str(tmp_path / "missing.jpg")].error)


def test_asyncio_s_client_does_the_same(service, client, photos):
    async def given():
        for number, photo in enumerate(photos):
            yield f"photo {number}", photo
        yield "bad", b"no photo"

    async def run():
        async with AsyncClient(service.grpc) as asking:
            return [done async for done in asking.explain_stream(given(), **WISHES)]

    found = {done.id: done for done in asyncio.run(run())}
    assert len(found) == len(photos) + 1
    assert found.pop("bad").error.reason == "IMAGE_NOT_DECODABLE"
    for number, photo in enumerate(photos):
        assert_same(found[f"photo {number}"].reply, client.explain(photo, **WISHES))


def test_the_caller_s_own_error_comes_back_after_the_answers(client, photo):
    def given():
        yield "good", photo
        raise LookupError("the list ended early")

    stream = client.explain_stream(given())
    assert next(stream).reply
    with pytest.raises(LookupError, match="ended early"):
        next(stream)


def test_a_stream_can_be_left_early(client, photo):
    for done in client.explain_stream(photo for _ in range(10**6)):
        assert done.reply
        break
    assert client.predict(photo).predictions, "the service goes on"


def test_photos_too_large_for_the_service_or_the_stream_fail_alone(client, photo):
    given = [("large", bytes(3_000_001)), ("huge", bytes(33 << 20)), ("good", photo)]
    found = {done.id: done for done in client.explain_stream(given)}
    assert found["large"].error.reason == "INPUT_TOO_LARGE"
    assert "on a stream" in found["huge"].error.message
    assert found["good"].reply


def test_a_thousand_photos_take_constant_memory(launch, thumbnails, tmp_path):
    """After the first 200, which fill the pools, nothing grows with the number of photos."""
    write_model(tmp_path / "store" / "small", width=4)
    running = launch("--model-store", str(tmp_path / "store"))
    processes = family(running.process.pid) | {"client": os.getpid()}
    before, answered = {}, set()

    def given():
        for number in range(PHOTOS):
            yield str(number), thumbnails[number % len(thumbnails)]

    with Client(running.grpc) as client:
        for done in client.explain_stream(given(), **WISHES):
            assert done.reply.explanations[1].picture("color").png
            answered.add(done.id)
            if len(answered) == PHOTOS // 5:
                before = {name: resident_mb(process) for name, process in processes.items()}
    assert len(answered) == PHOTOS
    grown = {name: round(resident_mb(process) - before[name], 1) for name, process in processes.items()}
    print(f"after {PHOTOS // 5} of {PHOTOS} photos {before} MB; grown since by {grown} MB")
    assert max(grown[name] for name in ("gateway", "worker", "client")) < 40
    assert grown["jvm"] < 150, "its heap breathes, within bounds"


def test_a_folder_killed_in_the_middle_is_resumed(service, thumbnails, tmp_path, capsys):
    folder, out = tmp_path / "ward", tmp_path / "out"
    for number, photo in enumerate(thumbnails):
        path = folder / f"bed-{number % 3}" / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo[:300] if number == 7 else photo)
    (folder / "notes.txt").write_text("no photo")
    command = ["explain", str(folder), "--address", service.grpc, "--picture", "heat_map", "--out", str(out)]
    journal = out / "explanations.jsonl"

    process = subprocess.Popen([sys.executable, "-m", "showcause.cli", *command], stderr=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    killed_at = journal.read_bytes().count(b"\n") - 1
    assert 9 <= killed_at < len(thumbnails)
    with open(journal, "ab") as file:
        file.write(b'{"name": "bed-0/')  # as a kill in the middle of a line leaves it
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}

    assert cli.main([*command, "--resume"]) == 1, "one photo is broken"
    said = capsys.readouterr().err
    assert f"of {len(thumbnails)} were done before" in said
    assert "1 other files were left out" in said
    assert "07.jpg: input.image" in said
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["request"]["pictures"] for line in lines if "request" in line] == [["heat_map"]] * 2
    lines = [line for line in lines if "request" not in line]
    explained = [line["name"] for line in lines if "error" not in line]
    assert len(explained) == len(set(explained)) == len(thumbnails) - 1
    assert {line["name"] for line in lines if "error" in line} == {"bed-1/07.jpg"}
    for line in lines:
        for path in line.get("files", ()):
            assert Path(path).exists()
    kept = sum(path.stat().st_mtime_ns == stamp for path, stamp in written.items())
    assert kept >= len(written) - 1, "what was done was left alone"

    (folder / "bed-0" / "00.jpg").write_bytes(thumbnails[1])  # another photo under the same name
    assert cli.main([*command, "--resume"]) == 1
    assert f"{len(thumbnails) - 2} of {len(thumbnails)} were done before" in capsys.readouterr().err
    assert cli.main([*command, "--target", "cat", "--resume"]) == 2
    assert "target was [] and is ['cat']" in capsys.readouterr().err


def test_file_names_that_are_too_long_or_no_text_fail_alone_or_not_at_all(service, photo, tmp_path, capsys):
    folder = tmp_path / "ward"
    deep = folder / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "deep.jpg").write_bytes(photo)
    (folder / ("n" * 244 + ".jpg")).write_bytes(photo)
    (folder / os.fsdecode(b"\xe4rztin.jpg")).write_bytes(photo)
    assert cli.main(["explain", str(folder), "--address", service.grpc, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "its files cannot be written" in said
    assert {path.name.split(".")[0] for path in (tmp_path / "out").rglob("*.png")} == {
        "deep",
        os.fsdecode(b"\xe4rztin"),
    }


def test_a_service_that_stops_answers_the_photos_it_has(launch, shipped, thumbnails):
    running = launch("animals-bcos", "--model-store", str(shipped.parent))
    with Client(running.grpc) as client:
        stream = client.explain_stream(thumbnails[n % 50] for n in range(10**6))
        for _ in range(20):
            assert next(stream).reply
        running.process.send_signal(signal.SIGTERM)
        rest = []
        with pytest.raises(Unavailable, match="stopping"):
            rest.extend(stream)
    assert rest
    assert all(done.reply for done in rest)
    assert running.process.wait(30) == 0


def test_a_service_that_is_silent_is_not_waited_for_longer_than_asked(launch, shipped, photo):
    running = launch("animals-bcos", "--model-store", str(shipped.parent))
    worker = family(running.process.pid)["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with (
            Client(running.grpc, timeout_seconds=2) as client,
            pytest.raises(DeadlineExceeded, match="1 photos waiting"),
        ):
            list(client.explain_stream([photo]))
        assert time.monotonic() - began < 20
    finally:
        os.kill(worker, signal.SIGCONT)


def test_nobody_there():
    with showcause.Client("127.0.0.1:1") as client, pytest.raises(Unavailable):
        list(client.explain_stream([b"photo"]))
