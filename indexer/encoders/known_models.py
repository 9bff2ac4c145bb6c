"""Models worth recommending, with what is known about them before anything is downloaded.

Dimensions and parameter counts are those of the architectures in open_clip 3.3; sizes are the weights as
float32. Licences are quoted from the models' own pages, which have the last word.
"""

from dataclasses import dataclass

BUILTIN = "builtin"
BUILTIN_IDS = ("builtin-1", "builtin-2")  # oldest first
MIT = "MIT"
APACHE = "Apache-2.0"
APPLE = "apple-amlr (Apple: scientific research only)"
UNKNOWN_LICENCE = "unknown: see where the weights come from"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One published set of weights. `repository` is its home on the Hugging Face hub."""

    name: str
    repository: str
    dim: int
    parameters_m: float  # millions, both towers
    licence: str
    note: str
    needs_transformers: bool = False

    @property
    def size_mb(self) -> int:
        """Megabytes of the weights as float32."""
        return round(self.parameters_m * 4)


# From small to large.
KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        name="open_clip:MobileCLIP2-S0/dfndr2b",
        repository="timm/MobileCLIP2-S0-OpenCLIP",
        dim=512,
        parameters_m=74.8,
        licence=APPLE,
        note="the smallest image tower here (11 M parameters), 256 px",
    ),
    KnownModel(
        name="open_clip:MobileCLIP2-S2/dfndr2b",
        repository="timm/MobileCLIP2-S2-OpenCLIP",
        dim=512,
        parameters_m=99.2,
        licence=APPLE,
        note="36 M parameters in the image tower, 256 px",
    ),
    KnownModel(
        name="open_clip:ViT-B-32/laion2b_s34b_b79k",
        repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        dim=512,
        parameters_m=151.3,
        licence=MIT,
        note="the usual first choice on a CPU, 224 px",
    ),
    KnownModel(
        name="open_clip:ViT-B-32/datacomp_xl_s13b_b90k",
        repository="laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        dim=512,
        parameters_m=151.3,
        licence=MIT,
        note="the same architecture trained on DataComp-1B, 224 px",
    ),
    KnownModel(
        name="open_clip:ViT-B-16-SigLIP2/webli",
        repository="timm/ViT-B-16-SigLIP2",
        dim=768,
        parameters_m=375.2,
        licence=APACHE,
        note="multilingual, 224 px; most of its size is the vocabulary",
        needs_transformers=True,
    ),
    KnownModel(
        name="open_clip:ViT-L-14/datacomp_xl_s13b_b90k",
        repository="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        dim=768,
        parameters_m=427.6,
        licence=MIT,
        note="for a GPU, 224 px",
    ),
    KnownModel(
        name="open_clip:MobileCLIP2-S4/dfndr2b",
        repository="timm/MobileCLIP2-S4-OpenCLIP",
        dim=768,
        parameters_m=445.4,
        licence=APPLE,
        note="the largest convolutional MobileCLIP2, 256 px",
    ),
    KnownModel(
        name="open_clip:ViT-H-14-378-quickgelu/dfn5b",
        repository="apple/DFN5B-CLIP-ViT-H-14-378",
        dim=1024,
        parameters_m=986.7,
        licence=APPLE,
        note="large: for a GPU, 378 px",
    ),
)


def name_within(name: str, model_id: str) -> str:
    """What `name` loads for a collection that holds vectors of `model_id`.

    `builtin` is the newest that comes with Kallos; of a collection that an older one made, it is that one.
    """
    return model_id if name == BUILTIN and model_id in BUILTIN_IDS else name


def find_known(name: str) -> KnownModel | None:
    return next((model for model in KNOWN_MODELS if model.name == name), None)
