"""The gradient by the input, and two that are made of it, for any network.

gradient (Simonyan, Vedaldi, Zisserman: ICLR workshop 2014), input_x_gradient (Shrikumar, Greenside, Kundaje: ICML 2017)
and guided_backprop (Springenberg et al.: ICLR workshop 2015). "Input" is what the network gets: normalised, or a B-cos
network's six channels. The factors of B-cos networks are not held: their linear map is another method.
"""

from collections.abc import Sequence

from showcause.methods.base import Ask, Attribution, Model
from showcause.methods.gradients import input_gradients, pooled_over_channels
from showcause.nets.base import Forward, Tape
from showcause.v1 import method_pb2


def suits(_: Model) -> bool:
    return True


def suits_guided(model: Model) -> bool:
    return model.rectified


def settle(method: method_pb2.Method, *_: object) -> method_pb2.Method:
    """There are no parameters, and every target can be explained."""
    return method


def needs(*_: object) -> Tape:
    return Tape(start="input")


def gradient(forward: Forward, asks: Sequence[Ask], *_: object) -> list[Attribution]:
    """The largest |d score / d input| over the channels, at each input pixel."""
    return [Attribution(pooled_over_channels(slope)) for slope in input_gradients(forward, asks)]


def input_x_gradient(forward: Forward, asks: Sequence[Ask], *_: object) -> list[Attribution]:
    """The sum over the channels of input times d score / d input, at each input pixel; signed."""
    slopes = input_gradients(forward, asks)
    products = [(slope * forward.x[ask.row].detach()).sum(0) for ask, slope in zip(asks, slopes, strict=True)]
    return [Attribution(product.float().cpu().numpy()) for product in products]


def guided_backprop(forward: Forward, asks: Sequence[Ask], *_: object) -> list[Attribution]:
    """As the gradient, with negative values dropped at each ReLU on the way back."""
    return [Attribution(pooled_over_channels(slope)) for slope in input_gradients(forward, asks, guided=True)]
