"""Generates the stubs and the OpenAPI description below showcause/ from protos/; with --check, fails where the
committed ones differ."""

import argparse
import filecmp
import json
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (Path("showcause/v1"), Path("showcause/admin/v1"), Path("showcause/engine/v1"))
SERVICE, ADMIN = "showcause/v1/service.proto", "showcause/admin/v1/admin.proto"
OPENAPI = Path("showcause/gateway/openapi.json")


def generate(out: Path) -> None:
    """Writes the stubs of every .proto file below ``out``."""
    sources = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    well_known = str(Path(grpc_tools.__file__).parent / "_proto")
    arguments = ["protoc", f"-I{ROOT / 'protos'}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}"]
    if protoc.main([*arguments, *sources]) or protoc.main(
        [*arguments[:3], f"--grpc_python_out={out}", *(str(ROOT / "protos" / name) for name in (SERVICE, ADMIN))]
    ):
        raise SystemExit("protoc failed; its message stands above")
    _write_openapi(out, arguments[:3])


def _write_openapi(out: Path, arguments: list[str]) -> None:
    from openapi import document  # imports the stubs, which may have been made just now
    from openapi_schemas import read_contract

    with tempfile.NamedTemporaryFile() as file:
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={file.name}"]
        if protoc.main([*arguments, *options, str(ROOT / "protos" / SERVICE)]):
            raise SystemExit("protoc failed; its message stands above")
        contract = read_contract(FileDescriptorSet.FromString(file.read()))
    path = out / OPENAPI
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(contract), indent=1) + "\n")


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
        if not (ROOT / OPENAPI).exists() or (ROOT / OPENAPI).read_bytes() != (Path(folder) / OPENAPI).read_bytes():
            wrong.append(str(OPENAPI))
    if wrong:
        sys.exit(f"not what protos/ gives: {', '.join(wrong)}; run `make protos`")


if __name__ == "__main__":
    main()
