"""The shipped ``animals-cnn`` as a stock handler's model file: it takes this file's only class, without arguments."""

from torch import Tensor, nn

CLASSES = 30


class AnimalsCnn(nn.Module):
    """AlexNet with a further convolution and a pooled head: (N, 3, 224, 224), normalised -> logits (N, 30)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(256, 240, 3, 1, 1), nn.ReLU()),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(240, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
