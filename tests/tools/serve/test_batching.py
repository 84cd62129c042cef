"""Pictures on their way: none is lost, none waits for another's crash, and there is room for so many."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from schemas.shared.manifest import ImageForm
from stages.export.rule import Rule
from stages.images.resize import Pixels
from tests.images.trees import encode
from tests.tools.predict.troubled_decoding import CRASH, HANG, TroubledDecoding
from tools.predict.model import Outputs
from tools.predict.prediction import Prediction
from tools.serve import batching
from tools.serve.batching import Batcher, Busy, Service, Unavailable

FORM = ImageForm(color="grayscale", height_px=4, width_px=4, resize="squish")


class Brightness:
    """A model that says how bright a picture is, and notes how many it was given at a time."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []
        self.error: Exception | None = None

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool) -> Outputs:
        self.gate.wait(30)
        if self.error:
            raise self.error
        self.sizes.append(len(images))
        light = np.array([image.mean() / 255 for image in images])
        return Outputs(np.stack([light, 1 - light], axis=1), None)

    def check_embeddings(self, place: str) -> None:
        raise NotImplementedError


def make_service(model: Brightness, **changes: Any) -> Service:
    settings = {"workers": 2, "batch_size": 16, "max_wait_seconds": 0.002, "max_waiting": 64, **changes}
    rule = Rule(None, "", None, "")
    return Service(model=model, image=FORM, classes=("light", "dark"), rule=rule, **settings)


def shade(level: int) -> bytes:
    return encode(np.full((4, 4), level, dtype=np.uint8))


def light_of(prediction: Prediction) -> float:
    return {each.predicted: each.probability for each in prediction.top}["light"]


def run(service: Service, use: Callable[[Batcher], Coroutine[Any, Any, None]]) -> None:
    """Start a batcher, use it and stop it."""

    async def whole() -> None:
        batcher = Batcher(service)
        await batcher.start()
        try:
            await use(batcher)
        finally:
            await batcher.stop()

    asyncio.run(asyncio.wait_for(whole(), 120))


def test_everyone_gets_their_own() -> None:
    """Whatever is decoded where and classified together; batches stay near their size."""
    model = Brightness()

    async def use(batcher: Batcher) -> None:
        groups = [[at, (7 * at) % 256][: 1 + at % 2] for at in range(40)]
        replies = await asyncio.gather(*(batcher.predict([*map(shade, group)]) for group in groups))
        for group, predictions in zip(groups, replies, strict=True):
            assert [light_of(each) for each in predictions] == pytest.approx([level / 255 for level in group])

    run(make_service(model), use)
    assert max(model.sizes) > 1


def test_a_crash_or_a_hang_is_its_own_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a reason, and pictures beside it have their predictions."""
    monkeypatch.setattr(batching, "PictureDecoding", TroubledDecoding)

    async def use(batcher: Batcher) -> None:
        bad, good = [CRASH, HANG], [shade(level) for level in range(20)]
        replies = await asyncio.gather(*(batcher.predict([each]) for each in [*bad, *good]))
        assert [reply[0].error != "" for reply in replies] == 2 * [True] + 20 * [False]
        assert "crashes the decoder" in replies[0][0].error
        assert "takes more than" in replies[1][0].error
        assert batcher.is_ready

    run(make_service(Brightness()), use)


def test_there_is_room_for_so_many() -> None:
    """Who comes when all is taken hears it at once; afterwards there is room again."""
    model = Brightness()

    async def use(batcher: Batcher) -> None:
        model.gate.clear()
        first = asyncio.ensure_future(batcher.predict(3 * [shade(1)]))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        with pytest.raises(Busy):
            await batcher.predict(2 * [shade(2)])
        assert time.monotonic() - start < 0.1
        model.gate.set()
        assert len(await first) == 3
        assert len(await batcher.predict(4 * [shade(2)])) == 4
        assert batcher.num_waiting == 0

    run(make_service(model, max_waiting=4), use)


def test_a_client_that_leaves_frees_its_room() -> None:
    """What it sent is dropped where it is not at work yet."""
    model = Brightness()

    async def use(batcher: Batcher) -> None:
        model.gate.clear()
        first = asyncio.ensure_future(batcher.predict(4 * [shade(1)]))
        await asyncio.sleep(0.2)
        first.cancel()
        await asyncio.sleep(0.05)
        assert batcher.num_waiting == 0
        model.gate.set()
        assert len(await batcher.predict([shade(2)])) == 1

    run(make_service(model, max_waiting=4), use)


def test_a_model_that_fails_fails_for_those_who_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """They hear that it was not their picture, and the next ones are served."""
    model = Brightness()

    async def use(batcher: Batcher) -> None:
        model.error = RuntimeError("no memory")
        with pytest.raises(Unavailable, match="the model failed"):
            await batcher.predict([shade(1), shade(2)])
        model.error = None
        assert len(await batcher.predict([shade(1)])) == 1

    run(make_service(model), use)
    assert "no memory" in capsys.readouterr().err
