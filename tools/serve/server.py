"""The HTTP interface: who may ask what, what is logged and counted, and which status says what."""

import asyncio
import hmac
import json
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stages.shared.errors import printable, shorten
from tools.predict.prediction import Prediction
from tools.serve.batching import Batcher, Busy, Service, Unavailable
from tools.serve.description import ModelDescription
from tools.serve.uploads import Intake, Picture, Refused

if TYPE_CHECKING:
    from tools.serve.heatmaps import Heatmaps

_OPEN_PATHS = {"/", "/healthz", "/readyz", "/docs", "/openapi.json"}
"""What a token does not guard: it holds nothing of the model. The page asks for the token itself."""

_Result = TypeVar("_Result")

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                    "required": ["images"],
                }
            }
        },
    }
}
"""For the OpenAPI document: the handlers read the body themselves, within limits."""

_COUNTED_PATHS = {"/", "/predict", "/explain", "/model", "/healthz", "/readyz", "/metrics", "/docs"}

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class PictureResult(BaseModel):
    """What the model says of one picture."""

    name: str
    """The file's name."""

    predicted: str | None
    """The most probable class; null for a picture that cannot be read."""

    probability: float | None
    """Its calibrated probability."""

    accepted: bool | None
    """Whether that is enough for the target accuracy; null where none can be promised."""

    reason: str | None
    """Why it is not accepted."""

    error: str | None
    """Why the picture cannot be read."""

    probabilities: dict[str, float]
    """Of each class, the most probable first."""


class PredictionResponse(BaseModel):
    """A result for each picture, in the order of the form."""

    predictions: list[PictureResult]


class ErrorResponse(BaseModel):
    """Why there is no answer."""

    error: str


class HeatmapResponse(BaseModel):
    """What the network looks at."""

    predicted: str
    picture: str
    outline: str


@dataclass(frozen=True)
class Access:
    """Who may use the server."""

    token: str | None
    """What they must send as `Authorization: Bearer ...`; None: all who reach it."""

    allowed_origins: Sequence[str]
    """Web pages of other origins that may, such as https://example.org."""


class Metrics:
    """What /metrics says; each server counts for itself."""

    def __init__(self, batcher: Batcher) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "darkroom_requests", "Requests by path and status", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "darkroom_predict_seconds",
            "Time from the head of a request to its response",
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=self.registry,
        )
        self.pictures = Counter(
            "darkroom_pictures",
            "Pictures by outcome: classified or unreadable",
            ("outcome",),
            registry=self.registry,
        )
        self.batches = Histogram(
            "darkroom_batch_pictures",
            "Pictures that the network was given at a time",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self._waiting = Gauge("darkroom_waiting_pictures", "Pictures inside", registry=self.registry)
        self._waiting.set_function(lambda: batcher.num_waiting)
        self._batcher = batcher

    def render(self) -> bytes:
        """Return the numbers in Prometheus's text format."""
        while self._batcher.batch_sizes:
            self.batches.observe(self._batcher.batch_sizes.popleft())
        return generate_latest(self.registry)


def build_app(
    service: Service,
    description: ModelDescription,
    *,
    intake: Intake,
    access: Access,
    page: str,
    heatmaps: "Heatmaps | None",
    max_seconds: float,
    log: Callable[[str], None] = print,
) -> FastAPI:
    """Return the application.

    Args:
        service: What classifies.
        description: What /model says.
        intake: Limits on uploads.
        access: Who may use it.
        page: The HTML of `/`.
        heatmaps: For /explain; None where there are none.
        max_seconds: After which a request that was received is given up.
        log: Takes the lines of the access log.
    """
    batcher = Batcher(service)
    metrics = Metrics(batcher)

    @asynccontextmanager
    async def run_batcher(_: FastAPI) -> AsyncIterator[None]:
        await batcher.start()
        yield
        await batcher.stop()

    app = FastAPIOffline(
        title="darkroom",
        description="Classifies pictures.",
        version=description.weights_sha256[:12],
        lifespan=run_batcher,
        redoc_url=None,
    )

    async def classify(pictures: Sequence[Picture]) -> list[Prediction]:
        return await _finish(batcher.predict([picture.data for picture in pictures]), max_seconds)

    @app.post(
        "/predict",
        summary="Classify pictures: the files of a form, whatever their fields are called",
        response_model=PredictionResponse,
        responses={status: {"model": ErrorResponse} for status in (400, 401, 408, 413, 415, 422, 503)},
        openapi_extra=_FORM,
    )
    async def predict(request: Request) -> Response:
        async with intake.receive(request) as pictures:
            predictions = await classify(pictures)
        num_unreadable = sum(bool(prediction.error) for prediction in predictions)
        metrics.pictures.labels("classified").inc(len(pictures) - num_unreadable)
        metrics.pictures.labels("unreadable").inc(num_unreadable)
        request.state.log |= {"pictures": len(pictures), "unreadable": num_unreadable}
        if num_unreadable == len(pictures) == 1:
            raise Refused(422, _explain_unreadable(predictions[0].error))
        results = [_to_result(*each) for each in zip(pictures, predictions, strict=True)]
        return _json({"predictions": results}, status=422 if num_unreadable == len(pictures) else 200)

    @app.get("/model", summary="What is served")
    async def model() -> ModelDescription:
        return description

    @app.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether pictures are classified", responses={503: {"model": ErrorResponse}})
    async def readyz() -> dict[str, str]:
        if not batcher.is_ready:
            raise Refused(503, "pictures are not classified at the moment", retry_seconds=1)
        return {"status": "ready"}

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    if heatmaps is not None:
        maps = heatmaps

        @app.post(
            "/explain",
            summary="What the network looks at in a picture (Grad-CAM): an outline, on a scale of 100",
            response_model=HeatmapResponse,
            openapi_extra=_FORM,
        )
        async def explain(request: Request) -> Response:
            async with intake.receive(request) as pictures:
                file = await _finish(batcher.decode(pictures[0].data), max_seconds)
            if file.pixels is None:
                raise Refused(422, _explain_unreadable(file.reason))
            heatmap = await _finish(asyncio.to_thread(maps.compute, file.pixels), max_seconds)
            return _json(
                {"predicted": heatmap.predicted, "picture": heatmap.address, "outline": heatmap.outline}
            )

    app.add_exception_handler(Refused, _show_refusal)
    app.add_exception_handler(HTTPException, _show_http_error)
    if access.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization"],
        )
    # The last one added is the first that sees a request.
    app.add_middleware(_Guard, access=access, metrics=metrics, log=log)
    return app


async def _finish(work: Awaitable[_Result], max_seconds: float) -> _Result:
    """Return the result of work on a request that was received.

    Raises:
        Refused: There is no room for it, or it takes too long.
    """
    try:
        return await asyncio.wait_for(work, max_seconds)
    except Busy:
        raise Refused(503, "too many pictures are waiting; try again later", retry_seconds=1) from None
    except Unavailable as error:
        raise Refused(503, f"not classified: {error}", retry_seconds=2) from None
    except TimeoutError:
        raise Refused(503, f"not classified within {max_seconds:g} s", retry_seconds=5) from None


class _Guard:
    """The outermost layer: token, headers, access log, numbers, and no traceback for a client, ever."""

    def __init__(self, app: ASGIApp, *, access: Access, metrics: Metrics, log: Callable[[str], None]) -> None:
        self._app = app
        self._token = None if access.token is None else f"Bearer {access.token}".encode()
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 0
        details: dict[str, object] = {}
        scope.setdefault("state", {})["log"] = details

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_SECURITY_HEADERS]
            await send(message)

        try:
            if self._may_pass(scope):
                await self._app(scope, receive, send_noted)
            else:
                response = _to_response(
                    Refused(401, "the token is missing or wrong (Authorization: Bearer ...)")
                )
                response.headers["www-authenticate"] = "Bearer"
                await response(scope, receive, send_noted)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if status == 0:
                await _to_response(Refused(500, "darkroom failed; its log says why"))(
                    scope, receive, send_noted
                )
        finally:
            self._note(scope, status, time.perf_counter() - start, details)

    def _may_pass(self, scope: Scope) -> bool:
        path = scope["path"]
        is_open = (
            path in _OPEN_PATHS or path.startswith("/static-offline-docs/") or scope["method"] == "OPTIONS"
        )
        if self._token is None or is_open:
            return True
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(sent, self._token)

    def _note(self, scope: Scope, status: int, seconds: float, details: dict[str, object]) -> None:
        path = scope["path"]
        is_known = path in _COUNTED_PATHS
        self._metrics.requests.labels(path if is_known else "other", str(status)).inc()
        if path == "/predict":
            self._metrics.seconds.observe(seconds)
        if path in ("/healthz", "/readyz", "/metrics") and status == 200:
            return  # asked every few seconds
        client = scope.get("client")
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": shorten(path),
            "status": status,
            "ms": round(1000 * seconds, 1),
            **details,
        }
        self._log(json.dumps(line))


async def answer_when_full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, as an application, those who come when there are as many connections as there may be."""
    response = _to_response(Refused(503, "too many clients are connected; try again later", retry_seconds=1))
    response.headers["connection"] = "close"
    await response(scope, receive, send)


def _explain_unreadable(reason: str) -> str:
    """Return a reason, most of which begin with a verb, as a sentence."""
    return reason if reason.startswith("the ") else f"the picture {reason}"


def _to_result(picture: Picture, prediction: Prediction) -> dict[str, object]:
    """Return the members of a PictureResult; building the model itself would check what we wrote."""
    return {
        "name": picture.name,
        "predicted": prediction.predicted or None,
        "probability": prediction.probability,
        "accepted": prediction.accepted,
        "reason": prediction.reason or None,
        "error": prediction.error or None,
        "probabilities": {each.predicted: each.probability for each in prediction.top},
    }


def _json(content: object, *, status: int = 200) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="application/json")


def _to_response(refusal: Refused) -> Response:
    response = _json({"error": printable(refusal.reason)}, status=refusal.status)
    if refusal.retry_seconds is not None:
        response.headers["retry-after"] = str(refusal.retry_seconds)
    if refusal.status in (400, 408, 413, 415):  # perhaps there is more of the request, which nobody will read
        response.headers["connection"] = "close"
    return response


async def _show_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.state.log["error"] = error.reason
    return _to_response(error)


async def _show_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _to_response(Refused(error.status_code, str(error.detail)))
