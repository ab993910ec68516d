"""The interpretable convolution layer (Zhang, Wu, Zhu: CVPR 2018): each filter learns to find one part of one category.

A filter's feature map x (n, n) after ReLU is held against templates T_mu, one for each place mu that the part could be
in, with a peak at mu that falls off with the L1 distance, and against T^-, for pictures without the part:

    T_mu = tau * max(1 - beta * |[i, j] - mu|_1 / n, -1),    T^- = -tau,    tau = 0.5 / n^2,    beta = 4    (section 3)

In the forward pass the map is multiplied by the template at its own part's place, which removes what lies elsewhere:
``masked``. In training a loss asks that the filter's maps be told by their templates. Three settings:

``paper``     the equations: peak of the mask at the argmax, tau included; Loss_f = -MI(X; T) (Eq. 1, 2).
``released``  what the authors' MATLAB does: mask without tau, peak at the rounded centre of mass, a slope for each
              filter that is learned between 1.5 and 3, and their own gradient, ``released_gradient``.
``tracked``   ours: the paper's mask without tau, and three losses of our own. ``peak_loss``: the strongest place tells
              whether the picture is of the category. The filter must find the same point of the object in two views of
              it (equivariance, as in Thewlis, Bilen, Vedaldi: ICCV 2017), by ``soft_places``. ``overlap_loss``: groups
              of filters look at different places. benchmarks/parts has the comparison.

Shapes: x is (N, K, n, n), N pictures and K filters. Indices of places are (row, column), from 0; template index is
row * n + column; the negative template comes last.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BETA = 4.0
Setting = Literal["paper", "released", "tracked"]
SETTINGS: tuple[Setting, ...] = ("paper", "released", "tracked")
SLOPES = (1.5, 3.0)  # of the released code, in its coordinates -1..1; it starts at 2
MOMENTUM = 0.9  # of the running mean that decides a filter's category
NO_CATEGORY = -1
MARGIN = 2.0


def precision(x: Tensor) -> torch.dtype:
    """What templates for ``x`` are computed in: float64 for float64, else at least float32 (under autocast, too)."""
    return torch.promote_types(x.dtype, torch.float32)


def tau(n: int) -> float:
    """The templates' scale: 0.5 / n^2."""
    return 0.5 / n**2


def templates(n: int, beta: float = BETA, dtype: torch.dtype | None = None) -> Tensor:
    """All templates as rows, tau included: (n^2 + 1, n^2), in torch's default type unless told."""
    place = torch.arange(n, dtype=dtype or torch.get_default_dtype())
    grid = torch.cartesian_prod(place, place)
    distance = torch.cdist(grid, grid, p=1)
    positive = tau(n) * (1 - beta * distance / n).clamp_min(-1)
    return torch.cat([positive, positive.new_full((1, n * n), -tau(n))])


def strongest_places(x: Tensor) -> Tensor:
    """Where each map is strongest: (N, K, 2)."""
    n = x.shape[-1]
    best = x.flatten(2).argmax(2)
    return torch.stack([best // n, best % n], -1)


def centers_of_mass(x: Tensor) -> Tensor:
    """The rounded centre of mass of each map, the middle for an empty one: (N, K, 2)."""
    n, x = x.shape[-1], x.to(precision(x))
    place = torch.arange(n, dtype=x.dtype, device=x.device)
    mass = x.sum((2, 3))
    rows, columns = (x.sum(3) * place).sum(2), (x.sum(2) * place).sum(2)
    center = torch.stack([rows, columns], -1) / mass.clamp_min(torch.finfo(x.dtype).tiny)[..., None]
    return torch.where(mass[..., None] > 0, center, (n - 1) / 2).round().long()


def mask(places: Tensor, n: int, slope: Tensor | float = BETA, dtype: torch.dtype | None = None) -> Tensor:
    """max(1 - slope * |[i, j] - place|_1 / n, -1), the templates with a peak of 1: (N, K, n, n).

    slope: one number, or one for each filter (K,). dtype: torch's default unless told.
    """
    grid = torch.arange(n, device=places.device, dtype=dtype or torch.get_default_dtype())
    far = (grid - places[..., None]).abs()  # [N,K,2,n]
    per_step = slope[:, None, None] / n if isinstance(slope, Tensor) else slope / n
    return (1 - per_step * (far[:, :, 0, :, None] + far[:, :, 1, None, :])).clamp_min(-1)


class InterpretableConv2d(nn.Module):
    """Convolution, ReLU and mask: (N, channels, n, n) -> (N, filters, n, n), each map masked around its own part.

    With ``masked=False`` it is an ordinary convolution with ReLU: the layer of the ordinary twin.
    category: (filters,) the class that each filter has learned, ``NO_CATEGORY`` before training.
    seen: (filters, classes) running mean of the filter's activation on each class, which decides the category.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        classes: int,
        kernel: int = 3,
        setting: Setting = "tracked",
        masked: bool = True,
    ):
        super().__init__()
        if setting not in SETTINGS:
            raise ValueError(f"setting is {setting!r}; allowed: {', '.join(SETTINGS)}")
        self.setting, self.masked = setting, masked
        self.conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
        self.slope = nn.Parameter(torch.full((filters,), 2.0)) if masked and setting == "released" else None
        if masked:
            self.register_buffer("category", torch.full((filters,), NO_CATEGORY))
            self.register_buffer("seen", torch.zeros(filters, classes), persistent=False)
        self.category: Tensor
        self.seen: Tensor

    def steepness(self, n: int) -> Tensor | float:
        """Of the mask on a grid of side n, in the paper's units: beta, or each filter's own (filters,) ("released")."""
        if self.slope is None:
            return BETA
        return self.slope.clamp(*SLOPES) * 2 * n / (n - 1)  # from the released code's steps of 2 / (n - 1)

    def focus(self, x: Tensor) -> Tensor:
        """The mask applied to feature maps; gradients pass where it is above 0, the choice of the place held fixed."""
        if not self.masked:
            return x
        n = x.shape[-1]
        if x.shape[-2] != n:
            raise ValueError(f"an interpretable layer's grid must be square: {n} x {x.shape[-2]}")
        if self.slope is not None:
            return F.relu(x * mask(centers_of_mass(x.detach()), n, self.steepness(n), precision(x)))
        scale = tau(n) if self.setting == "paper" else 1.0
        return F.relu(x * (scale * mask(strongest_places(x.detach()), n, dtype=precision(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.focus(F.relu(self.conv(x)))

    @torch.no_grad()
    def assign(self, x: Tensor, labels: Tensor) -> None:
        """Learns on line which category each filter stands for: that of the highest running mean (0.9 / 0.1).

        x: feature maps (N, K, n, n). labels: (N,) class indices; pictures with a negative label count for none.
        """
        if self.setting == "released":  # their MATLAB goes by the strongest place, the paper by the whole map
            x = x.amax((2, 3), keepdim=True)
        mean = category_means(x, labels, self.seen.shape[1])
        here = torch.bincount(labels[labels >= 0], minlength=self.seen.shape[1]) > 0
        known = self.seen.abs().sum(0) > 0
        share = torch.where(known, 1 - MOMENTUM, 1.0) * here  # the first mean counts in full
        self.seen += share * (mean - self.seen)
        self.category = self.seen.argmax(1)


def category_means(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean over each class's pictures of the activation summed over the map: (K, classes); 0 for absent classes.

    Its argmax is the category of a filter (section 3: 'the category whose images activate it most').
    """
    member = F.one_hot(labels.clamp_min(0), classes).to(x.dtype) * (labels >= 0)[:, None]
    return (x.sum((2, 3)).T @ member) / member.sum(0).clamp_min(1)


def log_likelihoods(x: Tensor, hold_partition: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x|T) (N, K, n^2 + 1), log p(x) (N, K) and log Z_T (K, n^2 + 1), after Eq. 2, by log-sum-exp throughout.

    p(x|T) = exp(tr(x T)) / Z_T, Z_T the sum over the batch. hold_partition: whether Z_T is a constant for autograd, as
    in the paper's Eq. 4.
    """
    n = x.shape[-1]
    match = x.flatten(2) @ templates(n, dtype=precision(x)).to(x).T
    log_z = match.logsumexp(0)
    given = match - (log_z.detach() if hold_partition else log_z)
    # p(T) = alpha / n^2 for each place and 1 - alpha for none, alpha = n^2 / (1 + n^2): all are 1 / (1 + n^2).
    return given, given.logsumexp(2) - math.log(n * n + 1), log_z


def mutual_information_loss(x: Tensor, hold_partition: bool = True) -> Tensor:
    """Loss_f = -MI(X; T) of every filter over the batch (Eq. 1): (K,).

    MI = sum_T p(T) sum_x p(x|T) log(p(x|T) / p(x)). The gradient that the paper prints (Eq. 4) is that of +MI; this is
    the one that lowers the loss.
    """
    given, marginal, _ = log_likelihoods(x, hold_partition)
    information = (given.exp() * (given - marginal[..., None])).sum((0, 2)) / given.shape[2]
    return -information


def one_template_gradient(x: Tensor, is_target: Tensor) -> Tensor:
    """Eq. 4, second line, with the sign that lowers the loss: only the template T^ that each map should fit counts.

    is_target: (N, K) whether the picture is of the filter's category; T^ is the strongest place's template there, and
    T^- elsewhere. Returns (N, K, n, n).
    """
    n = x.shape[-1]
    given, marginal, _ = log_likelihoods(x)
    places = strongest_places(x)
    chosen = torch.where(is_target, places[..., 0] * n + places[..., 1], n * n)
    fit = given.gather(2, chosen[..., None])[..., 0]
    weight = fit.exp() * (fit - marginal) / (n * n + 1)
    return -weight[..., None, None] * templates(n, dtype=precision(x)).to(x)[chosen].unflatten(2, (n, n))


def released_gradient(x: Tensor, is_target: Tensor, slope: Tensor | float) -> Tensor:
    """The gradient that the authors' MATLAB adds to a layer's: (N, K, n, n), before their factor 1e-5 * 0.1 / epoch.

    With s = mean(x * mask) where the picture is of the filter's category and s = -mean(x) elsewhere, the strength is
    exp(s / 0.5) * (s - 0.5 * log Z + 0.5), over its mean size in the batch; the direction is -mask, and +1. Z is the
    mean of exp(s / 0.5) over all pictures of the batch, as if all were of that kind. (In the MATLAB each map meets the
    mask of another filter and picture, by a reversed index; that is not done here.)
    """
    shape = mask(centers_of_mass(x), x.shape[-1], slope, precision(x))
    total = x.new_zeros(x.shape)
    for member, direction in ((is_target, shape), (~is_target, -torch.ones_like(shape))):
        s = (x * direction).mean((2, 3))
        log_z = (s / 0.5).logsumexp(0) - math.log(len(s))
        strength = ((s / 0.5 - log_z).exp() * (s - 0.5 * log_z + 0.5)) * member
        # The strength can be negative, and its mean near 0: the mean of its size keeps the signs and stays bounded.
        strength = strength / (strength.abs().sum(0) / member.sum(0).clamp_min(1)).clamp_min(1e-12)
        total = total - strength[..., None, None] * direction
    return total


# Ours. y is (N, K, n, n) before the ReLU: the logit that the filter's part is at a place.


def peak_loss(y: Tensor, is_target: Tensor) -> Tensor:
    """Whether each map's strongest place tells if the picture is of the filter's category: a scalar.

    The mean of softplus(MARGIN - peak) where it is (is_target, (N, K)), plus that of softplus(peak - MARGIN) where it
    is not. The margin lets filters that are silent elsewhere speak up where the part is.
    """
    peak = torch.where(is_target, -1, 1) * (y.amax((2, 3)) - MARGIN)
    loss = F.softplus(peak)
    yes, no = ((loss * some).sum() / some.sum().clamp_min(1) for some in (is_target, ~is_target))
    return yes + no


def soft_places(y: Tensor, sharpness: float = 3.0) -> Tensor:
    """The expected place of each map's part, under softmax(sharpness * y) over places: (N, K, 2), row and column."""
    n = y.shape[-1]
    likely = (sharpness * y.flatten(2)).softmax(2).unflatten(2, (n, n))
    place = torch.arange(n, dtype=y.dtype, device=y.device)
    return torch.stack([likely.sum(3) @ place, likely.sum(2) @ place], -1)


def overlap_loss(y: Tensor, groups: int, sharpness: float = 1.0) -> Tensor:
    """How often two groups of filters look at the same place: a scalar, 0 to 1.

    y: the maps of one category's filters. Filter k is in group k mod ``groups``; a group's places are the mean of its
    filters' softmax(sharpness * y). The loss is the chance that draws from two groups fall together. Without it all
    filters of a category end at its most telling part.
    """
    groups = min(groups, y.shape[1])
    if groups < 2:
        return y.new_zeros(())
    likely = (sharpness * y.flatten(2)).softmax(2)
    of_group = torch.stack([likely[:, group::groups].mean(1) for group in range(groups)], 1)
    together = of_group @ of_group.transpose(1, 2)
    apart = together.sum((1, 2)) - together.diagonal(dim1=1, dim2=2).sum(1)
    return apart.mean() / (groups * (groups - 1))


def balanced(seen: Tensor) -> Tensor:
    """Categories (K,) of equally many filters each, strongest preferences first; K must be a multiple of the classes.

    seen: (K, classes), as in ``InterpretableConv2d``; what a filter prefers is measured in shares of its own sum.
    """
    filters, classes = seen.shape
    if filters % classes:
        raise ValueError(f"{filters} filters cannot be shared out among {classes} classes")
    preference = seen / seen.sum(1, keepdim=True).clamp_min(torch.finfo(seen.dtype).tiny)
    left = [filters // classes] * classes
    category = torch.full((filters,), NO_CATEGORY)
    for index in preference.flatten().argsort(descending=True, stable=True).tolist():
        filter_, class_ = divmod(index, classes)
        if category[filter_] == NO_CATEGORY and left[class_]:
            category[filter_] = class_
            left[class_] -= 1
    return category.to(seen.device)
