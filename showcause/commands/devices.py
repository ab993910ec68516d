"""The flag ``--device`` of commands that run networks."""

import torch


def check_device(device: str, refusal: type[Exception]) -> None:
    """Raises ``refusal``, naming the flag, where torch cannot compute on the device."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # torch's for a device that there is not
        raise refusal(f"--device {device}: {str(error).splitlines()[0]}") from error
