"""Pictures from words, drawn in this process while a person watches."""

from collections.abc import Callable
from pathlib import Path

from rich.progress import TaskID

from indexer.disk.files import writing
from indexer.tables.generated import Generation
from rerank.generate.request import Progress
from service.cli.progress import Interrupt, steps_bar
from service.generation.image_service import ImageGenerationService
from service.generation.spec import GenerationSpec
from service.generation.work import StoppedError


def generate_all(image_service: ImageGenerationService, spec: GenerationSpec) -> list[Generation]:
    """With a progress bar; Ctrl-C keeps the pictures that are done."""
    image_service.check(spec)
    made: list[Generation] = []
    with steps_bar() as bar, Interrupt() as stop:
        for part in range(spec.count):
            task = bar.add_task(f"picture {part + 1}", total=None, rate="")

            def show(done: int, total: int, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=total)

            try:
                made.append(image_service.generate(spec, part, job=None, on_step=_step(stop, show)))
            except StoppedError:
                break
    return made


def _step(stop: Interrupt, show: Callable[[int, int], None]) -> Callable[[Progress], None]:
    def step(progress: Progress) -> None:
        if stop.is_set():
            raise StoppedError
        show(progress.done, progress.total)

    return step


def write_files(image_service: ImageGenerationService, made: list[Generation], out: Path) -> list[Path]:
    """`fox.png`, and for more pictures `fox-2.png`, `fox-3.png`, …"""
    files = []
    for number, one in enumerate(made, start=1):
        file = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        content = image_service.content(one)
        with writing(file):
            file.write_bytes(content)
        files.append(file)
    return files
