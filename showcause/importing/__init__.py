"""A published or own state dict -> a model folder: read, checked, tested on a picture, then put into a store."""


class ImportRefused(Exception):
    """Why a checkpoint does not become a model; the message names the file or flag, the value and what is allowed."""
