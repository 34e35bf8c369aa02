"""What the blind comparison asks and keeps, and what it does not tell."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.pictures import read_picture
from lorakiln.cli import blind as command
from lorakiln.cli import main
from lorakiln.compare.blind.questions import list_questions
from lorakiln.console.errors import UserError

TOKEN, PORT = "token-of-this-test", 8765
BASE = f"http://127.0.0.1:{PORT}"


def connect(blind):
    return TestClient(blind.make_app(TOKEN, PORT), base_url=f"{BASE}/{TOKEN}/")


def answer(client, side):
    """To the next question."""
    number = client.get("api/question").json()["number"]
    return client.post("api/answer", json={"number": number, "side": side}).json()


def test_every_two_files_are_asked_about_at_every_prompt_and_seed(compared):
    plan = compared[0].plan
    questions = list_questions(plan, 1000)
    asked = Counter((tuple(sorted(one.places)), one.left.prompt.index, one.left.seed) for one in questions)
    assert len(asked) == len(questions) == 3 * 6 * 2
    for one in questions:
        assert (one.left.prompt.index, one.left.seed) == (one.right.prompt.index, one.right.seed)
        assert one.left.with_trigger and one.left.adapter == "ABC"[one.places[0]] != one.right.adapter
    # Who goes on is asked the same; no file is always at one side, and no pair comes all at once.
    assert list_questions(plan, 1000) == questions and list_questions(plan, 5) == questions[:5]
    lefts = Counter(one.places[0] < one.places[1] for one in questions)
    assert min(lefts.values()) > 8 and len({tuple(sorted(one.places)) for one in questions[:12]}) == 3


def test_answers_are_kept_as_they_come_and_by_who_goes_on(make_blind, tmp_path):
    client = connect(make_blind(4))
    first = client.get("api/question").json()
    assert (first["answered"], first["of"], first["number"]) == (0, 4, 0) and "sks" not in first["prompt"]
    assert answer(client, "left")["number"] == 1
    assert len(read_json(tmp_path / "answers.json")) == 1
    answer(client, "equal")
    again = make_blind(4)
    assert list(again.answers.given.values()) == ["left", "equal"]
    client = connect(again)
    assert client.get("api/question").json()["number"] == 2
    assert client.post("api/back", json={}).json()["number"] == 1
    assert list(read_json(tmp_path / "answers.json").values()) == [again.answers.questions[0].left.key]
    # Answers to other questions stay in the file.
    assert len(make_blind(1).answers.given) == 1 and len(make_blind(4).answers.given) == 1


def test_nothing_tells_which_file_drew_a_picture(make_blind):
    blind = make_blind()
    client = connect(blind)
    question = blind.answers.questions[3]
    for side, shot in (("left", question.left), ("right", question.right)):
        answered = client.get(f"api/picture/3/{side}")
        assert answered.headers["content-type"] == "image/png" and answered.headers["cache-control"] == "no-store"
        image = Image.open(io.BytesIO(answered.content))
        assert not image.info and b"lora" not in answered.content
        assert np.array_equal(np.asarray(image), np.asarray(read_picture(blind.samples / shot.file_name)))
    for told in (client.get("api/question").text, client.get("").text):
        assert "safetensors" not in told and '"places"' not in told
    for address in ("api/picture/36/left", "api/picture/0/A", "api/picture/-1/left", "..%2fserver.py", "answers.json"):
        assert client.get(address).status_code == 404


def test_without_the_token_or_by_another_name_there_is_nothing(make_blind):
    client = connect(make_blind())
    for address in (f"{BASE}/", f"{BASE}/api/question", f"{BASE}/{TOKEN}x/api/question"):
        assert client.get(address).status_code == 403
    assert client.get("api/question", headers={"Host": "evil.example"}).status_code == 421
    assert client.post(f"{BASE}/api/answer", json={"number": 0, "side": "left"}).status_code == 403


@pytest.mark.parametrize("told", [b"", b"[]", b'{"number": "x", "side": "left"}', b'{"number": 0}'])
def test_what_is_no_answer_changes_nothing(make_blind, tmp_path, told):
    client = connect(make_blind())
    assert client.post("api/answer", content=told).status_code == 400
    assert client.post("api/answer", json={"number": 99, "side": "left"}).status_code == 409
    assert client.post("api/answer", json={"number": 0, "side": "up"}).status_code == 409
    assert not (tmp_path / "answers.json").exists()


def test_after_the_last_answer_the_result_is_told_once(make_blind):
    told = []
    client = connect(make_blind(3, told.append))
    assert "result" not in answer(client, "equal") and not told
    answer(client, "equal")
    last = answer(client, "equal")
    assert last["number"] is None and told == [last["result"]]
    assert last["result"][0] == "3 answers, 3 of them equal" and "whether the measures agree" in last["result"][-1]
    assert sum("won 50%" in line for line in last["result"]) >= 2


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 1}'])
def test_a_file_of_answers_that_is_none_is_told(make_blind, tmp_path, text):
    (tmp_path / "answers.json").write_text(text)
    with pytest.raises(UserError, match="no answers of a blind comparison"):
        make_blind()


def test_the_command_draws_serves_and_tells_what_was_answered(comparing, capsys, monkeypatch):
    def serve(site, port, tell):
        tell("http://127.0.0.1:1/t/")
        site.answers.add(0, "left")
        raise KeyboardInterrupt

    monkeypatch.setattr("lorakiln.serving.local.serve", serve)
    assert comparing("a.safetensors", "b.safetensors", command="blind") == 130
    told = capsys.readouterr().out
    assert "blind: open http://127.0.0.1:1/t/" in told and "blind: 1 answer, 0 of them equal" in told
    # What the measures say is told by the end alone.
    assert "worth most" not in told and "cannot be told apart" not in told
    assert len(read_json(comparing.out / command.ANSWERS)) == 1
    assert main(["blind", "none.safetensors", "+experiment=smoke"]) == 1
