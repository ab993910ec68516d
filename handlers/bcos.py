"""TorchServe's handler for B-cos networks: a photo alone is answered with the linear map of its strongest class."""

from showcause.handler import Handler


class BcosHandler(Handler):
    """``bcos_*`` in ``showcause.nets.NETS``."""
