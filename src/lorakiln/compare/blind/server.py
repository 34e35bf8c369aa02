"""The blind comparison by HTTP: what is asked, and what is answered; `serving.local` says who may ask.

A picture is asked for by its question's number and its side: no address tells which file drew it.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lorakiln.artefacts.pictures import read_picture
from lorakiln.compare.blind.answers import LEFT, RIGHT, Answers
from lorakiln.compare.blind.result import describe_result, sum_up
from lorakiln.compare.entrants import Entrant
from lorakiln.console.errors import UserError
from lorakiln.serving.local import HEADERS, Gate, answer_file
from lorakiln.worth.assessment import Assessed

UNKEPT = {**HEADERS, "Cache-Control": "no-store"}


class Blind:
    """Answers what the page asks.

    Args:
        assessed: the files, by their places.
        samples: the folder of their pictures.
        done: called with the result's lines as soon as everything is answered.
    """

    def __init__(
        self,
        answers: Answers,
        assessed: Sequence[Assessed[Entrant]],
        samples: Path,
        done: Callable[[list[str]], None] = lambda lines: None,
    ) -> None:
        self.answers, self.assessed, self.samples, self.done = answers, assessed, samples, done

    def make_app(self, token: str, port: int) -> ASGIApp:
        """What answers below /`token`/."""
        root = f"/{token}"
        routes = [
            Route(f"{root}/", self.show_page),
            Route(f"{root}/{{file:str}}", self.show_page),
            Route(f"{root}/api/question", self.show_question),
            Route(f"{root}/api/picture/{{number:int}}/{{side:str}}", self.show_picture),
            Route(f"{root}/api/answer", self.answer, methods=["POST"]),
            Route(f"{root}/api/back", self.take_back, methods=["POST"]),
        ]
        return Gate(Starlette(routes=routes), token, port)

    def show_page(self, request: Request) -> Response:
        """A file of the page: one of those that are there, by its name."""
        return answer_file("lorakiln.compare.blind", request.path_params.get("file", "index.html"))

    def show_question(self, request: Request) -> Response:
        return JSONResponse(self._make_state(), headers=UNKEPT)

    def show_picture(self, request: Request) -> Response:
        """One of a question's two pictures."""
        number, side = request.path_params["number"], request.path_params["side"]
        if number >= len(self.answers.questions) or side not in (LEFT, RIGHT):
            return PlainTextResponse("no such picture\n", 404, HEADERS)
        question = self.answers.questions[number]
        shot = question.left if side == LEFT else question.right
        drawn = io.BytesIO()
        # The pixels alone: the text in the file names the LoRA.
        read_picture(self.samples / shot.file_name).save(drawn, "PNG")
        return Response(drawn.getvalue(), media_type="image/png", headers=UNKEPT)

    async def answer(self, request: Request) -> Response:
        """Keep an answer; the next question."""
        try:
            given = await request.json()
            number, side = int(given["number"]), str(given["side"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return JSONResponse({"error": f"no answer to a question ({error})"}, 400, UNKEPT)
        try:
            await run_in_threadpool(self.answers.add, number, side)
        except UserError as error:
            return JSONResponse({"error": error.what}, 409, UNKEPT)
        state = self._make_state()
        if state["number"] is None:
            self.done(state["result"])
        return JSONResponse(state, headers=UNKEPT)

    async def take_back(self, request: Request) -> Response:
        """Forget the last answer; its question."""
        try:
            await run_in_threadpool(self.answers.take_back)
        except UserError as error:
            return JSONResponse({"error": error.what}, 409, UNKEPT)
        return JSONResponse(self._make_state(), headers=UNKEPT)

    def _make_state(self) -> dict[str, Any]:
        """The next question or, after the last, the result."""
        answers, number = self.answers, self.answers.find_next()
        state = {"answered": len(answers.given), "of": len(answers.questions), "number": number}
        if number is None:
            return {**state, "result": self.describe()}
        return {**state, "prompt": answers.questions[number].left.prompt.judged}

    def describe(self) -> list[str]:
        """The result so far, in lines."""
        return describe_result(sum_up(self.answers.questions, self.answers.given, self.assessed), self.assessed)
