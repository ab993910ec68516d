"""TorchServe's handler for ordinary networks: a photo alone is answered with the model's first method."""

from showcause.handler import Handler


class PlainHandler(Handler):
    """``plain_*`` in ``showcause.nets.NETS``, and networks that the operator installed."""
