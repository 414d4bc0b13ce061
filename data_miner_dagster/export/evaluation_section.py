"""Build the report's section about an evaluation: its figures, a table of classes, curves and a confusion matrix."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from data_miner_dagster.domain.quality import ClassEvaluation, CurvePoint, Evaluation

_SIDE: Final = 260.0
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its label, its colour, the points of an SVG polyline, and the position of its mark."""

    label: str
    colour: str
    points: str
    mark: tuple[float, float] | None  # at the threshold in force, or None if there is no such point


@dataclass(frozen=True, slots=True)
class LineChart:
    """A square chart from 0 to 1 on both axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, float, str], ...]  # position along x, along y, label
    side: float = _SIDE


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The figures of one class, formatted for the report. `best_threshold` includes its interval."""

    name: str
    colour: str
    num_objects: int
    ap: str
    ap50: str
    ar: str
    precision: str
    recall: str
    f1: str
    best_threshold: str
    best_f1: str


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One row of the confusion matrix: (count, share of the row from 0 to 1) for each column."""

    name: str
    cells: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class EvaluationSection:
    """The contents of the section about an evaluation."""

    evaluation: Evaluation
    figures: tuple[tuple[str, str], ...]  # name, formatted value
    rows: tuple[ClassRow, ...]
    charts: tuple[LineChart, ...]
    matrix: tuple[MatrixRow, ...]


def evaluation_section(evaluation: Evaluation, colour_by_class: Mapping[str, str]) -> EvaluationSection:
    """Build the section about an evaluation. Equal arguments yield equal sections.

    Args:
        evaluation: the evaluation to show.
        colour_by_class: the colour of each class, as `#rrggbb`. Other classes are grey.
    """
    classes = [
        (name, colour_by_class.get(name, "#888888"), evaluation.classes[name]) for name in evaluation.class_names
    ]
    axes: tuple[tuple[str, str, str, _Axis, _Axis], ...] = (
        ("Precision and recall", "recall", "precision", _recall, _precision),
        ("F1", "threshold", "F1", _threshold, _f1),
        ("Precision", "threshold", "precision", _threshold, _precision),
        ("Recall", "threshold", "recall", _threshold, _recall),
    )
    return EvaluationSection(
        evaluation=evaluation,
        figures=tuple((name, _figure(evaluation.figures[name])) for name in ("AP", "AP50", "AP75", "AR")),
        rows=tuple(_row(name, colour, found) for name, colour, found in classes),
        charts=tuple(
            LineChart(
                title,
                x_label,
                y_label,
                tuple(_line(name, colour, found, x, y) for name, colour, found in classes if found.curve),
                tuple((_x(tick), _y(tick), f"{tick:g}") for tick in _TICKS),
            )
            for title, x_label, y_label, x, y in axes
        ),
        matrix=_matrix(evaluation),
    )


_Axis = Callable[[CurvePoint], float]


def _threshold(point: CurvePoint) -> float:
    return point.threshold


def _precision(point: CurvePoint) -> float:
    return point.precision


def _recall(point: CurvePoint) -> float:
    return point.recall


def _f1(point: CurvePoint) -> float:
    return point.f1


def _line(name: str, colour: str, found: ClassEvaluation, x: _Axis, y: _Axis) -> Line:
    points = " ".join(f"{_x(x(point)):g},{_y(y(point)):g}" for point in found.curve)
    mark = (_x(x(found.in_force)), _y(y(found.in_force))) if found.in_force is not None else None
    return Line(name, colour, points, mark)


def _x(value: float) -> float:
    return round(value * _SIDE, 1)


def _y(value: float) -> float:
    return round((1 - value) * _SIDE, 1)


def _row(name: str, colour: str, found: ClassEvaluation) -> ClassRow:
    at, best, threshold = found.in_force, found.best, found.best_threshold
    return ClassRow(
        name=name,
        colour=colour,
        num_objects=found.num_objects,
        ap=_figure(found.ap),
        ap50=_figure(found.ap50),
        ar=_figure(found.ar),
        precision=_figure(at.precision if at else None),
        recall=_figure(at.recall if at else None),
        f1=_figure(at.f1 if at else None),
        best_threshold=f"{threshold.value:.2f} ({threshold.low:.2f} to {threshold.high:.2f})" if threshold else "–",
        best_f1=_figure(best.f1 if best else None),
    )


def _matrix(evaluation: Evaluation) -> tuple[MatrixRow, ...]:
    names: Sequence[str] = (*evaluation.confusion.class_names, "no object")
    return tuple(
        MatrixRow(name, tuple((count, round(count / max(1, sum(counts)), 3)) for count in counts))
        for name, counts in zip(names, evaluation.confusion.counts, strict=True)
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
