"""A model whose model.toml says onnxruntime: packed, served, and verified by torch."""

import os
import shutil
import subprocess
import sys
import zipfile

from showcause import Client, cli


def test_it_is_served_and_torch_verifies_it(launch, shipped, tmp_path, photo, capsys):
    folder = tmp_path / "store" / "animals-bcos"
    shutil.copytree(shipped.parent / "animals-bcos", folder)
    settings = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(settings.replace("\n[input]", 'runtime = "onnxruntime"\n[input]', 1))
    running = launch("--model-store", str(folder.parent))
    assert running.grpc, running.output
    assert "animals-bcos in ONNX Runtime: batch of 2: logits differ" in running.output
    with Client(running.grpc) as client:
        reply = client.explain(photo, top_k=2, pictures=["overlay", "color"], weights=True)
        gradient = client.explain(photo, methods="gradient")
    assert reply.receipt["runtime"] == "onnxruntime"
    assert gradient.receipt["runtime"] == "torch"
    assert all(one.residual.relative < 1e-4 for one in reply.explanations)
    reply.save(tmp_path, "cat")
    (tmp_path / "cat.jpg").write_bytes(photo)
    command = ["verify", tmp_path / "cat.json", "--photo", tmp_path / "cat.jpg", "--model-store", folder.parent]
    assert cli.main([*map(str, command)]) == 0
    assert "runtime was onnxruntime, and is torch here" in " ".join(capsys.readouterr().out.split())
    assert running.stop() == 0, running.output


def test_an_archive_is_packed_for_it(shipped, tmp_path):
    command = [sys.executable, "-m", "showcause.cli", "pack", "animals-parts", "--runtime", "onnxruntime"]
    command += ["--model-store", str(shipped.parent), "--out", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "batch of 1: logits differ" in done.stdout
    assert "network.onnx" in zipfile.ZipFile(tmp_path / "animals-parts.mar").namelist()

    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 1
    assert "No module named 'onnxruntime'; pip install 'showcause[onnxruntime]'" in done.stderr
