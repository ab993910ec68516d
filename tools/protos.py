"""Generates the stubs below showcause/ from protos/; with --check, fails where the committed stubs differ."""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (Path("showcause/v1"), Path("showcause/engine/v1"))
SERVICE = "showcause/v1/service.proto"


def generate(out: Path) -> None:
    """Writes the stubs of every .proto file below ``out``."""
    sources = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    well_known = str(Path(grpc_tools.__file__).parent / "_proto")
    arguments = ["protoc", f"-I{ROOT / 'protos'}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}"]
    if protoc.main([*arguments, *sources]) or protoc.main(
        [*arguments[:3], f"--grpc_python_out={out}", str(ROOT / "protos" / SERVICE)]
    ):
        raise SystemExit("protoc failed; its message stands above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on a difference")
    if not parser.parse_args().check:
        generate(ROOT)
        return
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        for package in PACKAGES:
            made, kept = Path(folder) / package, ROOT / package
            names = {path.name for where in (made, kept) for path in where.glob("*_pb2*")}
            _, different, missing = filecmp.cmpfiles(made, kept, names, shallow=False)
            wrong += [str(package / name) for name in sorted(different + missing)]
    if wrong:
        sys.exit(f"stubs differ from protos/: {', '.join(wrong)}; run `make protos`")


if __name__ == "__main__":
    main()
