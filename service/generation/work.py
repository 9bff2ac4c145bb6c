"""The `generate` job: one request, picture by picture. Begun again, it goes on with the missing ones."""

import base64

from indexer.errors import PictureRefusedError
from indexer.imaging.provenance import to_preview
from indexer.types import JSONValue
from rerank.generate.request import Progress
from service.generation.image_service import ImageGenerationService
from service.generation.spec import GenerationSpec
from service.jobs import Control

KIND = "generate"


class StoppedError(Exception):
    """Ends the drawing of a picture between two steps."""


class GenerateWork:
    """Callable for `JobRunner`, whose one lane of this kind is the one worker of the device."""

    def __init__(self, image_service: ImageGenerationService) -> None:
        self._image_service = image_service

    def __call__(self, params: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
        spec = GenerationSpec.of_json(params)
        made = {one.part: one.id for one in self._image_service.store.of_job(control.job_id)}
        refusals: list[PictureRefusedError] = []
        for part in range(spec.count):
            if part in made:
                continue
            try:
                watch = Watch(control, part, spec.count)
                made[part] = self._image_service.generate(spec, part, job=control.job_id, on_step=watch).id
            except PictureRefusedError as refusal:
                refusals.append(refusal)
            except StoppedError:
                break
        control.tell(done=len(made), total=spec.count)  # without a preview: the pictures are there
        if refusals and not made:
            raise refusals[0]
        return {"generations": [made[part] for part in sorted(made)], "refused": len(refusals)}


class Watch:
    """Called after each step: tells how far it is, with a small preview, and ends the work when asked to."""

    def __init__(self, control: Control, part: int, pictures: int) -> None:
        self._control = control
        self._part = part
        self._pictures = pictures

    def __call__(self, progress: Progress) -> None:
        if self._control.should_stop():
            raise StoppedError
        if not self._control.is_due():
            return
        preview = base64.b64encode(to_preview(progress.preview())).decode()
        self._control.tell(
            done=round(self._part + progress.done / progress.total, 3),
            total=self._pictures,
            picture=self._part + 1,
            step=progress.done,
            steps=progress.total,
            preview=f"data:image/jpeg;base64,{preview}",
        )
