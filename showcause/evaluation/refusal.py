"""What cannot be measured."""


class EvaluationRefused(Exception):
    """The message names the flag, its value and what is allowed."""
