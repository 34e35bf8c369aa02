"""The review by HTTP: what the page asks for and changes; `serving.local` says who may ask.

Pictures are asked for by their names in the dataset, looked up among those that there are: no name is a path to
somewhere else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.console.errors import UserError, explain_error
from lorakiln.prepare.unusable_files import Refused
from lorakiln.review.collection import Collection, ShownPicture
from lorakiln.review.editing import Editor, add_tag, replace_tag
from lorakiln.review.thumbnails import LARGE, SMALL, Thumbnails
from lorakiln.serving.local import HEADERS, Gate, answer_file

Answer = Callable[[Mapping[str, Any]], list[ShownPicture]]


class Review:
    """Answers what the page asks."""

    def __init__(self, collection: Collection, thumbnails: Thumbnails) -> None:
        self.collection, self.thumbnails, self.editor = collection, thumbnails, Editor(collection)
        self.changes: Mapping[str, Answer] = {
            "edit": lambda told: self.editor.change(_mapping(told, "changes")),
            "add": lambda told: self._change_tags(told, add_tag(_text(told, "tag"), told.get("front") is True)),
            "replace": lambda told: self._change_tags(told, replace_tag(_text(told, "tag"), _text(told, "new"))),
            "remove": lambda told: self._change_tags(told, replace_tag(_text(told, "tag"), "")),
            "undo": lambda told: self.editor.undo(),
            "redo": lambda told: self.editor.redo(),
        }

    def make_app(self, token: str, port: int) -> ASGIApp:
        """What answers below /`token`/."""
        root = f"/{token}"
        routes = [
            Route(f"{root}/", self.show_page),
            Route(f"{root}/{{file:str}}", self.show_page),
            Route(f"{root}/api/pictures", self.list_pictures),
            Route(f"{root}/api/small", self.show_small),
            Route(f"{root}/api/large", self.show_large),
            Route(f"{root}/api/mask", self.show_mask),
            Route(f"{root}/api/{{change:str}}", self.change, methods=["POST"]),
        ]
        return Gate(Starlette(routes=routes), token, port)

    def show_page(self, request: Request) -> Response:
        """A file of the page: one of those that are there, by its name."""
        return answer_file("lorakiln.review", request.path_params.get("file", "index.html"))

    def list_pictures(self, request: Request) -> Response:
        """All that there is."""
        pictures = [one.to_dict() for one in self.collection.pictures.values()]
        told = {"dataset": self.collection.raw.name, "pictures": pictures, "problems": self.collection.problems}
        return JSONResponse({**told, **self._tell_state()}, headers=HEADERS)

    def show_small(self, request: Request) -> Response:
        return self._show(request.query_params.get("name", ""), SMALL)

    def show_large(self, request: Request) -> Response:
        return self._show(request.query_params.get("name", ""), LARGE)

    def show_mask(self, request: Request) -> Response:
        """The mask of a picture, of those that are files."""
        masks = self.collection.contents.masks.get(request.query_params.get("name", ""))
        return self._draw(masks[0], LARGE) if masks else PlainTextResponse("no such mask\n", 404, HEADERS)

    def _show(self, name: str, longest: int) -> Response:
        if name not in self.collection.pictures:
            return PlainTextResponse("no such picture\n", 404, HEADERS)
        return self._draw(name, longest)

    def _draw(self, name: str, longest: int) -> Response:
        collection = self.collection
        # It may be another file than when the dataset was read.
        follow = collection.rules.prepare.follow_symlinks
        if found := find_obstacle(collection.raw / name, collection.raw.resolve(), follow):
            return JSONResponse({"error": found.reason}, 422, HEADERS)
        try:
            drawn = self.thumbnails.draw(name, longest)
        except Refused as refused:
            return JSONResponse({"error": refused.reason}, 422, HEADERS)
        except (OSError, UserError) as error:
            return JSONResponse({"error": _explain(error)}, 422, HEADERS)
        return Response(drawn, media_type="image/jpeg", headers={**HEADERS, "Cache-Control": "private, max-age=3600"})

    async def change(self, request: Request) -> Response:
        """One of `changes`, with what it is to know as JSON; the pictures that are other now."""
        name = request.path_params["change"]
        if name not in self.changes:
            return JSONResponse({"error": f"no such change: {name}"}, 404, HEADERS)
        try:
            told = await request.json()
            if not isinstance(told, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            return JSONResponse({"error": f"no JSON of an object ({error})"}, 400, HEADERS)
        try:
            changed = await run_in_threadpool(self.changes[name], told)
        except (OSError, UserError) as error:
            # What somebody else has changed is to be seen.
            pictures = [one.to_dict() for one in self.collection.pictures.values()]
            return JSONResponse({"error": _explain(error), "pictures": pictures, **self._tell_state()}, 409, HEADERS)
        return JSONResponse({"pictures": [one.to_dict() for one in changed], **self._tell_state()}, headers=HEADERS)

    def _change_tags(self, told: Mapping[str, Any], change: Callable[[str], str]) -> list[ShownPicture]:
        names = told.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError("a list of pictures' names is wanted", where="names", fix="load the page again")
        return self.editor.change_tags(names, change)

    def _tell_state(self) -> dict[str, Any]:
        """What any change may make another: steps that can be undone, buckets with too few pictures."""
        with self.editor.lock:
            small = self.collection.describe_small_buckets()
            return {"undo": len(self.editor.done), "redo": len(self.editor.undone), "small": small}


def _text(told: Mapping[str, Any], key: str) -> str:
    """A tag of a request, white space as single spaces."""
    value = told.get(key)
    if not isinstance(value, str) or not value.strip() or "," in value:
        raise UserError("a tag is wanted, without a comma", where=key, fix="write one")
    return " ".join(value.split())


def _mapping(told: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    value = told.get(key)
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise UserError("what changes, by pictures' names, is wanted", where=key, fix="load the page again")
    return value


def _explain(error: OSError | UserError) -> str:
    """For the page, without the machine's paths."""
    found = explain_error(error)
    if found is None:
        return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
    where = Path(str(found.where)).name if found.where else ""
    return f"{where}: {found.what}" if where else found.what
