"""What `showcause explain` keeps of its runs: names, the journal, and what can be resumed."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from showcause import cli
from showcause.commands.explain import named_photos
from showcause.commands.journal import Journal, JournalError
from showcause.reply import ClassTarget, Explanation, InputFrame, Picture, Rectangle, Reply

REQUEST = {"target": [], "top_k": None}


def done(name: str, photo: Path, weights: str = "w") -> dict:
    import hashlib

    receipt = {"model": "m", "version": "1", "weights_sha256": weights}
    return {"name": name, "receipt": receipt | {"input_sha256": hashlib.sha256(photo.read_bytes()).hexdigest()}}


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    made = [tmp_path / f"{number}.jpg" for number in range(5)]
    for path in made:
        path.write_bytes(path.name.encode())
    return made


@pytest.fixture
def out(tmp_path, photos) -> Path:
    """Where a run has done three of five."""
    folder = tmp_path / "out"
    with Journal(folder, REQUEST, resume=False) as journal:
        for path in photos[:3]:
            journal.add(done(path.stem, path))
        journal.add({"name": "3", "error": "broken"})
    return folder


def has(out: Path, photos: list[Path], request=REQUEST) -> list[str]:
    with Journal(out, request, resume=True) as journal:
        return [path.stem for path in photos if journal.has(path.stem, path)]


def test_a_resumed_run_knows_what_is_done(out, photos):
    assert has(out, photos) == ["0", "1", "2"]
    photos[1].write_bytes(b"another photo")
    photos[2].unlink()
    assert has(out, photos) == ["0"]


def test_without_resume_everything_is_done_again_and_nothing_is_lost(out, photos):
    with Journal(out, REQUEST, resume=False) as journal:
        assert not journal.has("0", photos[0])
    with Journal(out, REQUEST | {"top_k": 2}, resume=False) as journal:
        journal.add(done("4", photos[4]))
    assert has(out, photos) == ["0", "1", "2"], "a run in between, and one with other wishes, take nothing away"
    assert has(out, photos, REQUEST | {"top_k": 2}) == ["4"]


def test_a_line_cut_off_by_a_kill_is_taken_away_and_no_other(out, photos):
    path = out / "explanations.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"damaged\n", *lines[2:]]) + b'{"name": "4", "rec')
    assert has(out, photos) == ["0", "1", "2"]
    assert b'"rec\n' not in path.read_bytes()
    assert b"damaged\n" in path.read_bytes()


@pytest.mark.parametrize("text", ["my own notes\n", "[]\n", '{"name": "x"}\n'])
@pytest.mark.parametrize("resume", [True, False])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, text, resume):
    path = tmp_path / "explanations.jsonl"
    path.write_text(text)
    with pytest.raises(JournalError, match="is no journal"):
        Journal(tmp_path, REQUEST, resume)
    assert path.read_text() == text


def test_other_wishes_and_another_model_are_not_mixed(out, photos):
    with pytest.raises(JournalError, match=r"cannot resume in .*: top_k was None and is 2"):
        Journal(out, REQUEST | {"top_k": 2}, resume=True)
    with Journal(out, REQUEST, resume=True) as journal, pytest.raises(JournalError, match="made by the model"):
        journal.add(done("4", photos[4], weights="others"))


def test_names_of_photos(tmp_path, photos):
    deep = tmp_path / "ward" / "bed 1"
    deep.mkdir(parents=True)
    for name in ("a.JPG", "b.png", "c.heic", "d.txt"):
        (deep / name).write_bytes(b"")
    out = tmp_path / "ward" / "explanations"
    out.mkdir()
    (out / "a.overlay.png").write_bytes(b"")
    os.symlink(tmp_path, tmp_path / "ward" / "loop")
    found, others = named_photos([photos[0], photos[0], tmp_path / "ward", photos[0]], out)
    assert list(found) == ["0", "0-2", "bed 1/a.JPG", "bed 1/b.png", "0-3"]
    assert others == 2


def test_many_photos_of_one_name_are_named_quickly(tmp_path):
    found, _ = named_photos([Path(f"{number}/img.jpg") for number in range(20_000)], tmp_path)
    assert Counter(name.startswith("img-") for name in found) == {True: 19_999, False: 1}


def test_a_folder_without_photos_is_an_error(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["explain", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "no photos in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_neuron_that_is_none_is_named(capsys):
    with pytest.raises(SystemExit):
        cli.main(["explain", "x.jpg", "--neuron", "layer3.0:x"])
    assert "'layer3.0:x' is no neuron; allowed: LAYER[:CHANNEL][@ROW,COLUMN]" in capsys.readouterr().err


def test_labels_that_differ_in_punctuation_have_files_of_their_own(tmp_path):
    frame = InputFrame(1, 1, Rectangle(0, 0, 1, 1), 1, 1, "squash")
    labels = ("red fox", "red_fox", "red/fox")
    pictures = (Picture("overlay", b"png", 1, 1),)
    reasons = tuple(Explanation("linear_map", ClassTarget(n, label), "inherent", pictures=pictures)
                    for n, label in enumerate(labels))  # fmt: skip
    written = Reply((), "sigmoid", frame, reasons).save(tmp_path, "photo")
    assert len(set(written)) == 1 + len(labels)
    assert all(path.exists() for path in written)
    assert json.loads(written[0].read_text())["explanations"][2]["target"]["label"] == "red/fox"


def test_a_layer_without_a_method_that_reads_one_is_refused(tmp_path, photo, capsys):
    (tmp_path / "cat.jpg").write_bytes(photo)
    for methods in ([], ["--method", "gradient"]):
        assert cli.main(["explain", str(tmp_path / "cat.jpg"), "--layer", "features.4", *methods]) == 2
        said = capsys.readouterr().err
        assert (
            "--layer features.4 is for none of the methods; allowed: with --method chip, guided_chip, grad_cam" in said
        )
