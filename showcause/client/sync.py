"""The client for ordinary code."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Any

import grpc

from showcause import reply as r
from showcause.client import calls, connect
from showcause.client.outgoing import IN_HAND, Named, Outgoing
from showcause.errors import from_rpc_error
from showcause.v1 import model_pb2, service_pb2
from showcause.v1.service_pb2_grpc import ExplanationServiceStub
from showcause.wire import read_event, read_reply

WATCH_SECONDS = 0.5  # how often a thread looks whether its stream was left


class Client:
    """A connection to a Showcause service; safe to share between threads.

        with showcause.Client() as client:
            reply = client.explain("zebra.jpg", pictures=["overlay"])
            print(reply.predictions[0].label, reply.explanation.evidence.relative)

    address: host:port of gRPC. timeout_seconds: for each call. metadata: sent with each call, such as
    ``[("x-request-id", "...")]``. token: sent with each call, where the service asks for one. ca: file (PEM) of the
    authority that signed the service's certificate; certificate, key: files of one's own, where the service asks for
    them. tls: by default wherever ca or certificate is given; True takes public authorities (those that come with
    gRPC), and False sends a token in plain text to another machine, which is refused otherwise.
    Every call raises a ``showcause.errors.ShowcauseError`` if it fails; files that cannot be used are an OSError.
    """

    def __init__(
        self,
        address: str = calls.DEFAULT_ADDRESS,
        timeout_seconds: float = calls.DEFAULT_TIMEOUT_SECONDS,
        metadata: Sequence[tuple[str, str]] = (),
        *,
        token: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        tls: bool | None = None,
    ):
        credentials = connect.credentials(address, token, ca, certificate, key, tls)
        options = connect.options(address)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=options)
        self._stub = ExplanationServiceStub(self._channel)
        self._timeout, self._metadata = timeout_seconds, (*metadata, *connect.authorization(token))

    def explain(self, photo: calls.Photo, **wishes: Any) -> r.Reply:
        """A prediction and its reasons.

        photo: encoded bytes, a path, or a float array (3, H, W) of RGB in 0..1 of the model's input size.
        Wishes, all optional:
        model, version: default is the only one served. target: a class index, a label, a ``Neuron("layer3.0", 7)``, a
        ``Difference("fox", "dog")``, or several of them; top_k: the k strongest classes; default is the strongest.
        methods: names, or ``Method`` messages with parameters. region: (x_min, y_min, x_max, y_max) in photo pixels.
        pictures: of "overlay", "heat_map", "color" (linear_map alone), "tiles" (filter_parts alone). map_dtype:
        "float32", "float16", "uint8", or None for no map; map_size: (width, height). box: True, or the fraction of the
        map's maximum to cut at. weights: whether W of a linear map comes along. prediction_count: how many predictions.
        """
        return read_reply(self._call(self._stub.Explain, calls.explain_request(photo, **wishes)))

    def explain_stream(self, photos: Iterable[Named], **wishes: Any) -> Iterator[r.Streamed]:
        """Many photos over one stream; what became of each, as soon as it is ready.

        photos: as for ``explain``, or (id, photo); without an id, a path is its own and other photos are called by
        their position, from "0". They are taken by another thread, as the service has room for them: any number takes
        constant memory, here and there. A photo that fails has an ``error`` and does not end the stream. Wishes are
        for all photos, the same as for ``explain``. The client's ``timeout_seconds`` is how long an answer may be
        waited for.

            for done in client.explain_stream(Path("ward-7").glob("*.jpg"), pictures=["overlay"]):
                print(done.id, done.error or done.reply.predictions[0].label)
        """
        outgoing, over = Outgoing(wishes), Event()
        arrived: Queue[r.Streamed | Exception | None] = Queue(IN_HAND)

        def hand_over(thing: r.Streamed | Exception | None) -> None:
            """Waits until there is room, as long as somebody may come for it."""
            while not over.is_set():
                try:
                    return arrived.put(thing, timeout=WATCH_SECONDS)
                except Full:
                    continue

        def send() -> Iterator[service_pb2.ExplainStreamRequest]:
            try:
                for photo in photos:
                    message = outgoing.message(photo)
                    if isinstance(message, r.Streamed):
                        hand_over(message)
                    else:
                        yield message
            except Exception as error:  # the caller's own: it must not be lost in gRPC's thread
                outgoing.error = error

        call: Any = self._stub.ExplainStream(send(), metadata=self._metadata)

        def receive() -> None:
            try:
                for event in call:
                    if (done := read_event(event)) is not None:
                        outgoing.answered(done.id)
                        hand_over(done)
                end = outgoing.error or outgoing.end()
            except grpc.RpcError as error:
                end = outgoing.error or from_rpc_error(error)
            except Exception as error:
                end = error
            hand_over(end)

        Thread(target=receive, daemon=True).start()
        try:
            while (thing := self._next(arrived, outgoing)) is not None:
                if isinstance(thing, Exception):
                    raise thing
                yield thing
        finally:
            over.set()
            call.cancel()

    def _next(self, arrived: "Queue[Any]", outgoing: Outgoing) -> r.Streamed | Exception | None:
        since = time.monotonic()
        while (left := outgoing.left(since, self._timeout)) > 0:
            try:
                thing: r.Streamed | Exception | None = arrived.get(timeout=left)
                return thing
            except Empty:
                continue
        return outgoing.overdue(self._timeout)

    def predict(self, photo: calls.Photo, **wishes: Any) -> r.Reply:
        """A prediction alone; wishes: model, version, region, prediction_count as for ``explain``."""
        return read_reply(self._call(self._stub.Predict, calls.predict_request(photo, **wishes)))

    def models(self) -> list[model_pb2.Model]:
        """All served models, without their cards."""
        found: list[model_pb2.Model] = []
        request = service_pb2.ListModelsRequest()
        while True:
            page = self._call(self._stub.ListModels, request)
            found += page.models
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def model(self, name: str = "", version: str = "") -> model_pb2.Model:
        """One model, with its card."""
        message: model_pb2.Model = self._call(
            self._stub.GetModel, service_pb2.GetModelRequest(model=name, version=version)
        ).model
        return message

    def channels(self, model: str = "", **wishes: Any) -> service_pb2.GetChannelImportanceResponse:
        """What CHIP distilled from a model: the channels that matter for each class, and how far classes share them.

        Wishes, all optional: version; layer: one that was distilled, default is the last; classes: a label, a class
        index, or several of them, default is all that were distilled; count: how many channels of each.
        """
        message: service_pb2.GetChannelImportanceResponse = self._call(
            self._stub.GetChannelImportance, calls.channels_request(model, **wishes)
        )
        return message

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
