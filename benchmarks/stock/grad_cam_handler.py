"""Grad-CAM in stock TorchServe, as a user of captum writes it: the image classifier with other insights.

It is given what makes it cheap: the map stays on its own grid of 13 x 13, as ours does, where many would enlarge it to
the photo; and it explains the strongest class, as ours does, so that no caller has to ask for that first.
"""

from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from ts.torch_handler.image_classifier import ImageClassifier


class GradCamClassifier(ImageClassifier):
    """The last convolution, after its ReLU: the layer that our service maps, too."""

    def initialize(self, context: Any) -> None:
        super().initialize(context)
        self.grad_cam = LayerGradCam(self.model, self.model.features[-1])

    def get_insights(self, tensor_data: Tensor, _: Any, target: int = 0) -> list[Any]:
        """Maps (h, w) as lists, one for each photo of the batch."""
        with torch.no_grad():
            strongest = self.model(tensor_data).argmax(1)
        maps = self.grad_cam.attribute(tensor_data, strongest, relu_attributions=True)
        return maps.squeeze(1).tolist()
