#!/bin/sh
# Installs the service into a folder of its own, ready for a read-only file system:
#
#     install.sh cpu|cuda SOURCE PREFIX
#
# SOURCE: this repository; PREFIX: a new folder, which cannot be moved afterwards. TORCH_INDEX_URL: where pip takes torch
# from, if not from where it takes everything. The Dockerfile runs this, and so do the tests, without a container engine.
set -eu
umask 022
kind=$1 source=$2 prefix=$3

torch=$(python3 - "$source/pyproject.toml" <<'PYTHON'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    worker = tomllib.load(file)["project"]["optional-dependencies"]["worker"]
print(next(each for each in worker if each.startswith("torch==")))
PYTHON
)
case $kind in
    cpu) torch="$torch+cpu" ;; # so called on PyTorch's own index alone: without it this stops here, not after 3 GB
    cuda) ;;
    *) echo "install.sh: first argument: no kind of image; got '$kind'; allowed: cpu, cuda" >&2; exit 2 ;;
esac

# The environment has no pip of its own; the one beside the base's Python installs into it.
python3 -m venv --without-pip "$prefix"
install() {
    python3 -m pip --python "$prefix/bin/python" install --no-compile --disable-pip-version-check \
        --root-user-action ignore --quiet "$@"
}
install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
install "$source[server]"

# Tests, headers and tools for building against torch: nothing reads them without a compiler.
site=$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$site/torch/bin" -mindepth 1 -maxdepth 1 ! -name torch_shm_manager -exec rm -rf {} +
rm -rf "$site/torch/test" "$site/torch/include" "$site/torch/share"
find "$site/sympy" "$site/networkx" -type d -name tests -prune -exec rm -rf {} +
# With it torch compiles some kernels when they are first asked for, by a C compiler that is not there.
rm -rf "$site/triton" "$site"/triton-*.dist-info

# Nothing can be compiled later on a read-only tree. Nothing in it changes either: times, which copies may lose, and
# sources are not looked at again. What is in the syntax of a newer Python is left out.
"$prefix/bin/python" -m compileall -q -f -j 0 --invalidation-mode unchecked-hash -x '/py312_[^/]*$' "$site"

"$prefix/bin/python" - "$kind" <<'PYTHON'
import sys, torch
if (torch.version.cuda is None) == (sys.argv[1] == "cuda"):
    sys.exit(f"install.sh: torch {torch.__version__} is not one for {sys.argv[1]}; TORCH_INDEX_URL names where to find it")
PYTHON
