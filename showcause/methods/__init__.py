"""The explanation methods; a key is the field name in the oneof of ``showcause.v1.Method``."""

from showcause.methods import cam, chip, filter_parts, grad_cam, gradient, linear_map
from showcause.methods.base import Ask, Attribution, MethodRow

METHODS: dict[str, MethodRow] = {
    "linear_map": MethodRow(1, linear_map.suits, linear_map.settle, linear_map.needs, linear_map.explain),
    "filter_parts": MethodRow(1, filter_parts.suits, filter_parts.settle, filter_parts.needs, filter_parts.explain),
    "chip": MethodRow(1, chip.suits, chip.settle, chip.needs, chip.explain),
    "refined_chip": MethodRow(1, chip.suits, chip.settle_refined, chip.needs_refined, chip.explain_refined),
    "guided_chip": MethodRow(1, chip.suits_guided, chip.settle_guided, chip.needs_guided, chip.explain_guided),
    "cam": MethodRow(1, cam.suits, cam.settle, cam.needs, cam.explain),
    "grad_cam": MethodRow(1, grad_cam.suits, grad_cam.settle, grad_cam.needs, grad_cam.explain),
    "gradient": MethodRow(1, gradient.suits, gradient.settle, gradient.needs, gradient.gradient),
    "input_x_gradient": MethodRow(1, gradient.suits, gradient.settle, gradient.needs, gradient.input_x_gradient),
    "guided_backprop": MethodRow(1, gradient.suits_guided, gradient.settle, gradient.needs, gradient.guided_backprop),
    "guided_grad_cam": MethodRow(
        1, grad_cam.suits_guided, grad_cam.settle_guided, grad_cam.needs_guided, grad_cam.explain_guided
    ),
}

__all__ = ["METHODS", "Ask", "Attribution", "MethodRow"]
