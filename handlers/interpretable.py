"""TorchServe's handler for interpretable CNNs: a photo alone is answered with the parts of its strongest class."""

from showcause.handler import Handler


class InterpretableHandler(Handler):
    """``interpretable_*`` in ``showcause.nets.NETS``."""
