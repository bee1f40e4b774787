"""The base of provider plugins written for the tests: the engine's protocol, and nothing else.

The engine starts a program ``pulumi-resource-NAME`` from PATH, reads the port from the first
line that it prints, and speaks pulumi/provider.proto to it. What a plugin can make is a
`Kind` each; what exists is kept by the service behind it, never by the plugin, which lives as
long as one command of Pulumi.
"""

# ruff: noqa: N802, ANN401, ARG002 - methods and messages as gRPC names and types them

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, runtime_checkable

import grpc
from google.protobuf import any_pb2, empty_pb2, json_format, struct_pb2
from google.rpc import status_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

Properties = dict[str, Any]
"""Values of a resource by the names of Pulumi's schema, in camelCase; plain JSON."""

UNKNOWN = rpc.UNKNOWN
WORKERS = 32
MESSAGE_BYTES = 400 << 20  # as Pulumi's own plugins have it


class RefusedError(Exception):
    """A call failed: the sentence that the engine shows."""


class PartialError(Exception):
    """A resource was made, but not wholly; the engine keeps it in the state under ``id_``."""

    def __init__(self, reason: str, *, id_: str, outputs: Properties) -> None:
        super().__init__(reason)
        self.id_ = id_
        self.outputs = outputs


class Kind(Protocol):
    """A type of resource. What a verb cannot do it says by `RefusedError`."""

    @property
    def replaces(self) -> frozenset[str]:
        """The inputs of which a change takes another resource; those of all others update it."""

    def check(self, inputs: Properties) -> Mapping[str, str]:
        """Return what is wrong, by input; values that are not known yet are `UNKNOWN`."""

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """Make it; return its id and outputs, which contain the inputs."""

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """Return its outputs as they are now, or None if it is gone."""

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """Change it to ``inputs``; return its outputs."""

    def delete(self, id_: str, outputs: Properties) -> None:
        """Remove it; succeed if it does not exist."""


@runtime_checkable
class Ageing(Protocol):
    """A kind of which some outputs alone, as `Kind.read` found them, call for another one."""

    def stale(self, outputs: Properties) -> set[str]:
        """Return the names of such outputs."""


@dataclass
class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """Answers the engine for the kinds by type (``pkg:module/name:Name``), functions by token.

    ``configure`` gets the provider's configuration before anything else.
    """

    kinds: Mapping[str, Kind]
    functions: Mapping[str, Callable[[Properties], Properties]] = field(default_factory=dict)
    configure: Callable[[Properties], None] = lambda _: None
    version: str = "0.0.0"

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=self.version)

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:
        with _Told(context):
            self.configure(_plain(request.args))
        return provider_pb2.ConfigureResponse()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        with _Told(context):
            function = self.functions.get(request.tok)
            if function is None:
                raise RefusedError(f"the stand-in knows no function {request.tok}")
            answer = function(_plain(request.args))
        named = {"return": _struct(answer)}  # no name that Python would take
        return provider_pb2.InvokeResponse(**named)  # type: ignore[arg-type] # by position there

    def Check(self, request: Any, context: Any) -> Any:
        with _Told(context):
            wrong = self._kind(request.urn).check(_plain(request.news))
        failures = [provider_pb2.CheckFailure(property=k, reason=v) for k, v in wrong.items()]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        with _Told(context):
            kind = self._kind(request.urn)
        olds, news = _plain(request.old_inputs), _plain(request.news)
        changed = {key for key in {*olds, *news} if olds.get(key) != news.get(key)}
        if isinstance(kind, Ageing):
            changed |= kind.stale(_plain(request.olds))
        some, none = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some if changed else none,
            diffs=sorted(changed),
            replaces=sorted(changed & kind.replaces),
        )

    def Create(self, request: Any, context: Any) -> Any:
        with _Told(context, request.properties):
            id_, outputs = self._kind(request.urn).create(_plain(request.properties))
        return provider_pb2.CreateResponse(id=id_, properties=_struct(outputs))

    def Read(self, request: Any, context: Any) -> Any:
        with _Told(context):
            outputs = self._kind(request.urn).read(request.id, _plain(request.properties))
        if outputs is None:
            return provider_pb2.ReadResponse(id="")
        return provider_pb2.ReadResponse(
            id=request.id, properties=_struct(outputs), inputs=request.inputs
        )

    def Update(self, request: Any, context: Any) -> Any:
        with _Told(context, request.news):
            kind, olds, news = self._kind(request.urn), _plain(request.olds), _plain(request.news)
            outputs = kind.update(request.id, olds, news)
        return provider_pb2.UpdateResponse(properties=_struct(outputs))

    def Delete(self, request: Any, context: Any) -> Any:
        with _Told(context):
            self._kind(request.urn).delete(request.id, _plain(request.properties))
        return empty_pb2.Empty()

    def _kind(self, urn: str) -> Kind:
        name = urn.split("::")[2].rpartition("$")[2]
        if name not in self.kinds:
            raise RefusedError(f"the stand-in knows no type {name}")
        return self.kinds[name]


def serve(plugin: Plugin) -> NoReturn:
    """Answer until the engine ends this process, or is gone itself."""
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES)]
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    threading.Event().wait()
    sys.exit(0)


@dataclass
class _Told:
    """Tell the engine of a `RefusedError`, or a `PartialError` with what was made."""

    context: Any
    inputs: Any = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, PartialError):
            detail = _remains(error, self.inputs)
            status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
            status.details.append(detail)
            blob = ("grpc-status-details-bin", status.SerializeToString())
            self.context.set_trailing_metadata((blob,))
            self.context.abort(grpc.StatusCode.UNKNOWN, str(error))
        if isinstance(error, RefusedError):
            self.context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _remains(error: PartialError, inputs: Any) -> any_pb2.Any:
    """Return the detail by which the engine keeps what was made of a resource."""
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=error.id_, properties=_struct(error.outputs), reasons=[str(error)], inputs=inputs
        )
    )
    return detail


def _plain(struct: Any) -> Properties:
    """Return a struct as JSON values, whole numbers as such; the engine has opened secrets."""
    return {key: _whole(value) for key, value in json_format.MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return value


def _struct(values: Properties) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct
