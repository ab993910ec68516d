"""Location instability (Zhang, Wu, Zhu: CVPR 2018, section 5): does a filter fire at the same place of the object?

For filter f and landmark k (a part's centre), over pictures I that show the landmark:

    D_fk = sqrt(var_I |place_f(I) - landmark_k(I)|) / diagonal

It is low for a filter that follows the landmark or keeps a fixed distance to it, and for one that ignores the picture:
a filter that always fires at the centre of the frame scores 0.067 on the Animal-Part crops, better than anything the
paper prints. So every figure stands beside three controls: the fixed centre, random places, and the filter's own places
dealt out to the wrong pictures.

Two definitions of var: ``population=True`` divides by the number of pictures, as the paper's formula reads; False by
one less, as the authors' released code does. Both take the (at most) 100 pictures with the strongest activations. The
released code takes them from all annotated pictures, those that were trained on among them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
MOST_PICTURES = 100
SILENT = 1e-6  # a filter fires on a picture where its strongest activation is above this
DRAWS_RANDOM, DRAWS_SHUFFLED = 1000, 20


def instability(
    places: Floats,
    scores: Floats,
    landmarks: Floats,
    size_px: ArrayLike,
    population: bool = False,
    most: int = MOST_PICTURES,
) -> Floats:
    """Location instability of each filter for each landmark: (K, P), NaN where fewer than two pictures show it.

    places: (S, K, 2) where each filter fires, in pixels. scores: (S, K) how strongly. landmarks: (P, S, 2) in pixels,
    NaN where absent. size_px: (height, width) of all pictures, or (S, 2) one of each; distances are relative to each
    picture's own diagonal.
    """
    size = _sizes(size_px, len(places))
    found = [
        _deviation(places[rows, np.arange(places.shape[1])], landmark[rows], size[rows], population)
        for landmark, rows in _strongest(scores, landmarks, most)
    ]
    return np.stack(found, axis=1)


def shuffled(
    places: Floats,
    scores: Floats,
    landmarks: Floats,
    size_px: ArrayLike,
    population: bool = False,
    most: int = MOST_PICTURES,
    draws: int = DRAWS_SHUFFLED,
    seed: int = 0,
) -> Floats:
    """Control: the same with each filter's places dealt out anew among the pictures that count: (K, P).

    The mean of several shuffles. Places and landmarks are the same as in ``instability``; only which belongs to which
    is lost, so a filter that follows a part must score lower than here.
    """
    size, rng, found = _sizes(size_px, len(places)), np.random.default_rng(seed), []
    for landmark, rows in _strongest(scores, landmarks, most):
        # As shares of their picture, so that a place moves sensibly to a picture of another size.
        own = places[rows, np.arange(places.shape[1])] / size[rows]
        total = np.zeros(places.shape[1])
        for _ in range(draws):
            dealt = np.take_along_axis(own, rng.permuted(_indices(rows.shape), axis=0)[..., None], axis=0)
            total += _deviation(dealt * size[rows], landmark[rows], size[rows], population)
        found.append(total / draws)
    return np.stack(found, axis=1)


def fixed_center(landmarks: Floats, size_px: ArrayLike, population: bool = False) -> Floats:
    """Control: a filter that always fires at the centre, on all pictures that show the landmark: (P,)."""
    size, found = _sizes(size_px, landmarks.shape[1]), []
    for landmark in landmarks:
        rows = np.flatnonzero(~np.isnan(landmark[:, 0]))[:, None]
        found.append(_deviation(size[rows] / 2, landmark[rows], size[rows], population)[0])
    return np.array(found)


def random_places(
    landmarks: Floats, size_px: ArrayLike, population: bool = False, draws: int = DRAWS_RANDOM, seed: int = 0
) -> Floats:
    """Control: filters that fire anywhere with equal probability, on all pictures that show the landmark: (P,)."""
    size, rng, found = _sizes(size_px, landmarks.shape[1]), np.random.default_rng(seed), []
    for landmark in landmarks:
        rows = np.repeat(np.flatnonzero(~np.isnan(landmark[:, 0]))[:, None], draws, axis=1)
        places = rng.uniform(size=(*rows.shape, 2)) * size[rows]
        found.append(mean(_deviation(places, landmark[rows], size[rows], population)))
    return np.array(found)


@dataclass(frozen=True)
class Stability:
    """What is known of the places of one category's filters; instabilities are means over parts, then over filters.

    instability, shuffled: of the filters that are alive. frequent_instability, frequent_shuffled: of those among them
    that fire on at least half of the pictures. fixed_center, random: the other controls. tracking: share of the alive
    filters that score below their own shuffled places. alive, dead: filters that fire on any of the pictures, or on
    none. rare: alive, but firing on less than half. pictures: how many show each part. NaN where there is nothing to
    measure.
    """

    instability: float
    shuffled: float
    fixed_center: float
    random: float
    frequent_instability: float
    frequent_shuffled: float
    tracking: float
    alive: int
    dead: int
    rare: int
    pictures: tuple[int, ...]


def stability(
    places: Floats, scores: Floats, landmarks: Floats, size_px: ArrayLike, population: bool = False, seed: int = 0
) -> Stability:
    """Instability and its controls for the pictures of one category; arguments as for ``instability``.

    The argmax of an empty map never moves and would count as stable, so dead filters are left out, and counted.
    """
    fires = np.greater(scores, SILENT)
    alive: NDArray[np.bool_] = np.any(fires, axis=0)
    frequent: NDArray[np.bool_] = fires.sum(0) * 2 >= len(fires)
    places, scores = places[:, alive], scores[:, alive]
    own = over_parts(instability(places, scores, landmarks, size_px, population))
    dealt = over_parts(shuffled(places, scores, landmarks, size_px, population, seed=seed))
    known = ~np.isnan(own)
    return Stability(
        instability=mean(own),
        shuffled=mean(dealt),
        fixed_center=mean(fixed_center(landmarks, size_px, population)),
        random=mean(random_places(landmarks, size_px, population, seed=seed)),
        frequent_instability=mean(own[frequent[alive]]),
        frequent_shuffled=mean(dealt[frequent[alive]]),
        tracking=mean((own < dealt)[known]),
        alive=int(alive.sum()),
        dead=int((~alive).sum()),
        rare=int((alive & ~frequent).sum()),
        pictures=tuple(int(count) for count in (~np.isnan(landmarks[..., 0])).sum(1)),
    )


def average(categories: Sequence[Stability], by_filter: bool = False) -> Stability:
    """Counts are summed; the rest is the mean over categories that have it, each weighing the same, as the paper
    averages its single-category networks, or with ``by_filter`` as much as it has filters alive (multi-category).
    """
    weights = [float(category.alive) if by_filter else 1.0 for category in categories]
    values: dict[str, float] = {}
    for field in fields(Stability):
        if field.type in ("float", float):
            values[field.name] = mean([getattr(category, field.name) for category in categories], weights)
    return Stability(
        **values,
        alive=sum(category.alive for category in categories),
        dead=sum(category.dead for category in categories),
        rare=sum(category.rare for category in categories),
        pictures=tuple(sum(counts) for counts in zip(*(category.pictures for category in categories), strict=True)),
    )


def over_parts(values: Floats) -> Floats:
    """The mean over the parts that could be measured: (K, P) -> (K,)."""
    return np.array([mean(row) for row in values])


def mean(values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The mean of what is not NaN; NaN where that is nothing, or nothing has weight."""
    numbers = np.asarray(values, float).ravel()
    weight = np.ones(len(numbers)) if weights is None else np.asarray(weights, float)
    known = ~np.isnan(numbers) & (weight > 0)
    return float(np.average(numbers[known], weights=weight[known])) if known.any() else math.nan


def _sizes(size_px: ArrayLike, pictures: int) -> Floats:
    return np.broadcast_to(np.asarray(size_px, float), (pictures, 2))


def _strongest(scores: Floats, landmarks: Floats, most: int) -> list[tuple[Floats, NDArray[np.intp]]]:
    """Each landmark (S, 2) with the rows of the pictures that count for it, (at most ``most``, K), strongest first."""
    chosen = []
    for landmark in landmarks:
        present = np.flatnonzero(~np.isnan(landmark[:, 0]))
        chosen.append((landmark, present[np.argsort(-scores[present], axis=0, kind="stable")[:most]]))
    return chosen


def _indices(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """(H, K): the row of each entry."""
    return np.broadcast_to(np.arange(shape[0])[:, None], shape)


def _deviation(places: Floats, landmarks: Floats, size: Floats, population: bool) -> Floats:
    """Standard deviation over pictures of the relative distance: (H, K, 2) each -> (K,)."""
    if len(places) < 2:
        return np.full(places.shape[1], np.nan)
    distance = np.linalg.norm(places - landmarks, axis=2) / np.linalg.norm(size, axis=2)
    return distance.std(axis=0, ddof=0 if population else 1)
