"""`make run`: starts the service, explains a photo of a cat with each model, shows the answers, stops the service.

The service runs as `showcause serve` starts it; if one is running already, that one is asked. The photo is
scikit-image's `chelsea`.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import skimage.data
from PIL import Image

from showcause import cli

ADDRESS = "127.0.0.1:50051"
MODELS = ("animals-bcos", "animals-parts", "animals-cnn")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("explanations"), help="folder for the pictures (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the service running until Ctrl-C")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    photo = options.out / "chelsea.png"
    Image.fromarray(skimage.data.chelsea()).save(photo)

    began, service = time.monotonic(), None
    if not answers(ADDRESS, seconds=0.5):
        service = subprocess.Popen([sys.executable, "-m", "showcause.cli", "serve"])
    try:
        while not answers(ADDRESS, seconds=1):
            if service is not None and service.poll() is not None:
                return 1  # its message stands above
        code = 0
        for model in MODELS:
            code |= cli.main(["explain", str(photo), "--model", model, "--out", str(options.out / model)])
        print(f"{time.monotonic() - began:.0f} s from the start of the service to the pictures")
        if options.keep and service is not None:
            print("the service goes on; Ctrl-C stops it")
            service.wait()
        return code
    except KeyboardInterrupt:
        return 130
    finally:
        if service is not None:
            service.send_signal(signal.SIGTERM)
            service.wait()


def answers(address: str, seconds: float) -> bool:
    """Whether a gRPC server accepts connections there."""
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(seconds)
            return True
        except grpc.FutureTimeoutError:
            return False


if __name__ == "__main__":
    sys.exit(main())
