"""The wire of rank axes: lessons in, axes and figures out."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from indexer.encoders.tensor_files import read_safetensors
from indexer.filters.language import field_name
from indexer.tables.axes import Axis, Figures, Standard
from rerank.axes.evaluate import Evaluation
from rerank.axes.examples import MOST_LABELS, MOST_PAIRS, Label, OrderedPair
from rerank.axes.fit_axis import (
    FromExtremes,
    FromField,
    FromHead,
    FromLabels,
    FromPairs,
    FromPrompts,
    TrainingSignal,
)
from rerank.axes.heads import LARGEST_BYTES, Activation
from rerank.types import Distribution
from service.schemas import AnyImageId, Body, FieldName, Number, Prompt, from_base64, iso

WAYS = ("prompts", "extremes", "pairs", "labels", "field", "head")


class Prompts(Body):
    high: Annotated[list[Prompt], Field(min_length=1, max_length=64)]
    low: Annotated[list[Prompt], Field(min_length=1, max_length=64)]


class Extremes(Body):
    """Ids of stored pictures with much and with little of the attribute; five an end do better than one."""

    high: Annotated[list[AnyImageId], Field(min_length=1, max_length=1000)]
    low: Annotated[list[AnyImageId], Field(min_length=1, max_length=1000)]


class PairBody(Body):
    """Picture `more` has more of the attribute than picture `less`."""

    more: AnyImageId
    less: AnyImageId


class LabelBody(Body):
    """How much of the attribute a picture has. Pictures of one `group`, a person, are held out together."""

    id: AnyImageId
    value: Number
    group: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class HeadBody(Body):
    """A published head: base64 of a safetensors file, and what lies between its layers if it does not say."""

    data: Annotated[str, Field(max_length=2 * LARGEST_BYTES)]
    activation: Activation | None = None


Labels = Annotated[list[LabelBody], Field(max_length=MOST_LABELS)]


class AxisRequest(Body):
    """Give exactly one of `prompts`, `extremes`, `pairs`, `labels`, `field` and `head`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "warmth", "extremes": {"high": [3, 8], "low": [5, 13]}},
                {"name": "calm", "labels": [{"id": 3, "value": 4.5}, {"id": 5, "value": 1, "group": "sea"}]},
            ]
        }
    )

    name: Annotated[str, Field(max_length=64)]
    prompts: Prompts | None = None
    extremes: Extremes | None = None
    pairs: Annotated[list[PairBody], Field(max_length=MOST_PAIRS)] | None = None
    labels: Labels | None = None
    field: FieldName | None = None
    head: HeadBody | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = [way for way in WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(WAYS)}; got {given or 'none'}")
        return self

    def to_signal(self) -> TrainingSignal:
        if self.prompts is not None:
            return FromPrompts(tuple(self.prompts.high), tuple(self.prompts.low))
        if self.extremes is not None:
            return FromExtremes(tuple(self.extremes.high), tuple(self.extremes.low))
        if self.pairs is not None:
            return FromPairs(tuple(OrderedPair(pair.more, pair.less) for pair in self.pairs))
        if self.labels is not None:
            return FromLabels(to_labels(self.labels))
        if self.head is not None:
            tensors = read_safetensors(from_base64(self.head.data, "head"))
            return FromHead(tensors, self.head.activation)
        return FromField(field_name(self.field))


class EvaluateRequest(Body):
    """Labels to judge an axis by. Those of pictures that it was fitted on are left out, and counted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"labels": [{"id": 3, "value": 4.5}, {"id": 5, "value": 1}]}]}
    )

    labels: Labels

    def to_labels(self) -> tuple[Label, ...]:
        return to_labels(self.labels)


def to_labels(bodies: list[LabelBody]) -> tuple[Label, ...]:
    return tuple(Label(body.id, body.value, body.group) for body in bodies)


class StandardBody(BaseModel):
    """Mean and standard deviation over the collection when the axis was made."""

    mean: float
    std: float

    @classmethod
    def of(cls, standard: Standard) -> Self:
        return cls(mean=standard.mean, std=standard.std)


class FiguresBody(BaseModel):
    """Rank correlation on the training and on held-out pictures; null: too few to measure.

    `low` and `high` bound the held-out one with 95 %; `maximum` is the most that ties among the labels allow.
    """

    n_train: int
    n_held_out: int
    training: float | None
    held_out: float | None
    low: float | None
    high: float | None
    maximum: float | None
    how: str

    @classmethod
    def of(cls, figures: Figures) -> Self:
        return cls(
            n_train=figures.n_train,
            n_held_out=figures.n_held_out,
            training=figures.training,
            held_out=figures.held_out,
            low=figures.low,
            high=figures.high,
            maximum=figures.maximum,
            how=figures.how,
        )


class AxisBody(BaseModel):
    """An attribute to sort by. `trust`: exact, measured, taught, prompt or weak; `card` says why.

    A `linear` axis scores `direction · x`; `gain · direction · x + bias` is in the unit of its labels.
    """

    name: str
    version: int
    kind: Literal["linear", "field", "head"]
    method: str
    field: str | None
    trust: str
    card: str
    model: str
    inputs: dict[str, Any]
    gain: float
    bias: float
    sign: str
    standard: StandardBody | None
    figures: FiguresBody | None
    created_at: str

    @classmethod
    def of(cls, axis: Axis) -> Self:
        return cls(
            name=axis.name,
            version=axis.version,
            kind=axis.kind,
            method=axis.method,
            field=axis.field,
            trust=axis.trust,
            card=axis.card,
            model=axis.model_id,
            inputs=axis.inputs,
            gain=axis.gain,
            bias=axis.bias,
            sign=axis.sign,
            standard=None if axis.standard is None else StandardBody.of(axis.standard),
            figures=None if axis.figures is None else FiguresBody.of(axis.figures),
            created_at=iso(axis.created_at),
        )


class AxisDetail(AxisBody):
    """One axis, with its direction and the versions that there are of it."""

    direction: list[float] | None
    versions: list[int]

    @classmethod
    def with_versions(cls, axis: Axis, versions: list[Axis]) -> Self:
        return cls(
            **AxisBody.of(axis).model_dump(),
            direction=None if axis.direction_D is None else axis.direction_D.tolist(),
            versions=[version.version for version in versions],
        )


class AxisList(BaseModel):
    axes: list[AxisBody]


class EvaluationBody(BaseModel):
    """How the axis orders `n` labels that it was not fitted on; null where it gives all of them one value.

    `left_out` labels were of pictures that it was fitted on, `without_value` of pictures without the field.
    """

    axis: str
    version: int
    n: int
    left_out: int
    without_value: int
    spearman: float | None
    low: float | None
    high: float | None
    pearson: float | None
    maximum: float

    @classmethod
    def of(cls, axis: Axis, found: Evaluation) -> Self:
        return cls(
            axis=axis.name,
            version=axis.version,
            n=found.n,
            left_out=found.left_out,
            without_value=found.without_value,
            spearman=found.spearman,
            low=found.low,
            high=found.high,
            pearson=found.pearson,
            maximum=found.maximum,
        )


class MilestoneBody(BaseModel):
    """The picture that `percentile` per cent of the collection stay below."""

    percentile: float
    value: float
    id: int
    uri: str


class DistributionBody(BaseModel):
    """How an axis spreads over the collection; bar i counts values from `edges[i]` to `edges[i + 1]`."""

    axis: str
    version: int
    images: int
    missing: int
    mean: float
    std: float
    edges: list[float]
    counts: list[int]
    milestones: list[MilestoneBody]

    @classmethod
    def of(cls, found: Distribution) -> Self:
        return cls(
            axis=found.axis,
            version=found.version,
            images=found.images,
            missing=found.missing,
            mean=found.mean,
            std=found.std,
            edges=list(found.edges),
            counts=list(found.counts),
            milestones=[
                MilestoneBody(percentile=one.percentile, value=one.value, id=one.image.id, uri=one.image.uri)
                for one in found.milestones
            ],
        )
