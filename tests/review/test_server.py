"""What the review answers by HTTP, and to whom."""

import io
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from lorakiln.cli import main
from lorakiln.review.collection import open_collection
from lorakiln.review.server import Review
from lorakiln.review.thumbnails import SMALL, Thumbnails
from lorakiln.serving.local import LARGEST

TOKEN, PORT = "token-of-this-test", 8765
BASE = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


@pytest.fixture
def client(raw, rules, kept):
    review = Review(open_collection(raw, rules), Thumbnails(raw, kept, rules.prepare))
    return TestClient(review.make_app(TOKEN, PORT), base_url=BASE)


def ask(client, address, **query):
    return client.get(f"/{TOKEN}/{address}", params=query)


def test_the_page_and_its_files_are_there(client):
    page = ask(client, "")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for name in ("app.js", "grid.js", "crop.js", "panel.js", "pictures.js", "server.js", "style.css"):
        assert ask(client, name).status_code == 200
    # Nothing of the page is fetched from elsewhere, and its address, which is the key, is told to nobody.
    assert "http" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "address", ["/", "/api/pictures", "/wrong/", "/wrong/api/pictures", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/app.js", "//"]
)
def test_without_the_token_there_is_nothing(client, address):
    answer = client.get(address)
    assert answer.status_code == 403 and "sks" not in answer.text
    assert client.post(address, json={}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", "", "["]
)
def test_by_another_name_there_is_nothing(client, host):
    assert client.get(f"/{TOKEN}/api/pictures", headers={"Host": host}).status_code == 421


def test_localhost_is_its_name_too(client):
    assert client.get(f"/{TOKEN}/", headers={"Host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "..%2fsecret.png", "/etc/passwd", "deep/../a.png", "a.txt", "metadata.jsonl", "", "a.png\0.png"],
)
@pytest.mark.parametrize("kind", ["small", "large", "mask"])
def test_no_name_leads_out_of_the_dataset(client, raw, kind, name):
    Image.new("RGB", (64, 64)).save(raw.parent / "secret.png")
    assert ask(client, f"api/{kind}", name=name).status_code == 404


@pytest.mark.parametrize("path", ["../server.py", "..%2fserver.py", "%2e%2e/server.py", "page/app.js", ".."])
def test_no_file_of_the_page_is_somewhere_else(client, path):
    answer = client.get(f"/{TOKEN}/{path}")
    assert answer.status_code in (403, 404) and "import" not in answer.text


def test_a_link_that_leads_out_is_not_followed(client, raw, tmp_path):
    """Neither one that was there, which is no picture, nor one that takes a picture's place later."""
    outside = tmp_path / "secret.png"
    Image.new("RGB", (64, 64), "red").save(outside)
    (raw / "a.png").unlink()
    (raw / "a.png").symlink_to(outside)
    answer = ask(client, "api/small", name="a.png")
    assert answer.status_code == 422 and "leads out" in answer.json()["error"]
    (raw / "masks/a.png").unlink()
    (raw / "masks/a.png").symlink_to(outside)
    assert ask(client, "api/mask", name="a.png").status_code == 422


def test_pictures_are_upright_small_and_kept_outside(client, raw, kept):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200), (255, 0, 0)).save(raw / "a.png", exif=exif)
    with Image.open(io.BytesIO(ask(client, "api/small", name="a.png").content)) as image:
        assert image.size == (SMALL // 2, SMALL) and image.format == "JPEG"
    before = sorted(path.name for path in raw.iterdir())
    (file,) = kept.iterdir()
    # What is kept is not drawn again, and of a changed picture is not taken.
    file.write_bytes(b"kept")
    assert ask(client, "api/small", name="a.png").content == b"kept"
    Image.new("RGB", (60, 60)).save(raw / "a.png")
    with Image.open(io.BytesIO(ask(client, "api/small", name="a.png").content)) as image:
        assert image.size == (60, 60)
    assert before == sorted(path.name for path in raw.iterdir())
    with Image.open(io.BytesIO(ask(client, "api/mask", name="a.png").content)) as image:
        assert image.size == (128, 128) and abs(image.getpixel((5, 5))[0] - 200) < 4


def test_what_cannot_be_shown_says_why(client, raw):
    (raw / "b.png").unlink()
    for name in ("broken.png", "b.png"):
        answer = ask(client, "api/small", name=name)
        assert answer.status_code == 422 and answer.json()["error"]
        assert str(raw) not in answer.text


def test_the_list_says_all_that_the_page_shows(client):
    told = ask(client, "api/pictures").json()
    assert told["dataset"] == "raw" and told["undo"] == told["redo"] == 0
    shown = {one["name"]: one for one in told["pictures"]}
    assert shown["b.png"] == {
        "name": "b.png",
        "size": [160, 96],
        "bucket": "80x48",
        "caption": "sks dog, blue",
        "from": "b.txt",
        "crop": None,
        "excluded": False,
        "findings": [],
        "mask": False,
        "reg": False,
        "alike": "",
    }
    assert shown["e.png"]["excluded"] and told["problems"] == [["f.png.edit.yaml", "a hand edit of no picture"]]


def test_changes_by_http(client, raw):
    def send(kind, **told):
        return client.post(f"/{TOKEN}/api/{kind}", json=told)

    answer = send("edit", changes={"a.png": {"caption": "by hand", "crop": [0, 0, 64, 128]}}).json()
    (shown,) = answer["pictures"]
    assert (shown["caption"], shown["crop"], shown["bucket"]) == ("by hand", [0, 0, 64, 128], "48x80")
    assert (answer["undo"], answer["redo"]) == (1, 0)
    answer = send("add", names=["a.png", "b.png"], tag=" best  photo ", front=True).json()
    assert [one["caption"] for one in answer["pictures"]] == ["best photo, by hand", "best photo, sks dog, blue"]
    assert send("replace", names=["b.png"], tag="blue", new="navy").json()["pictures"][0]["caption"].endswith("navy")
    assert send("remove", names=["b.png"], tag="sks dog").json()["pictures"][0]["caption"] == "best photo, navy"
    for _ in range(4):
        answer = send("undo").json()
    assert (answer["undo"], answer["redo"]) == (0, 4) and not (raw / "a.png.edit.yaml").exists()
    assert send("redo").json()["pictures"][0]["caption"] == "by hand"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("edit", {"changes": {"../x.png": {"caption": "x"}}}, 409),
        ("edit", {"changes": {"a.png": {"crop": [0, 0, 999, 9]}}}, 409),
        ("edit", {"changes": {"a.png": "x"}}, 409),
        ("edit", {}, 409),
        ("add", {"names": ["a.png"], "tag": "a, b"}, 409),
        ("add", {"names": "a.png", "tag": "a"}, 409),
        ("remove", {"names": ["a.png"], "tag": " "}, 409),
        ("delete", {}, 404),
        ("edit", [], 400),
    ],
)
def test_what_is_refused_changes_nothing(client, raw, kind, body, status):
    before = sorted(path.name for path in raw.rglob("*"))
    answer = client.post(f"/{TOKEN}/api/{kind}", json=body)
    assert answer.status_code == status and answer.json()["error"]
    assert sorted(path.name for path in raw.rglob("*")) == before


def test_what_is_no_json_or_too_large_is_refused(client):
    assert client.post(f"/{TOKEN}/api/edit", content=b"\xff").status_code == 400
    assert client.post(f"/{TOKEN}/api/edit", content=b"[" * 100_000).status_code == 400
    assert client.post(f"/{TOKEN}/api/edit", content=b" " * (LARGEST + 1)).status_code == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_change_is_a_post(client, method):
    assert client.request(method, f"/{TOKEN}/api/edit").status_code in (404, 405)


def test_the_command_serves_this_machine_alone_and_ends_by_ctrl_c(raw, tmp_path):
    """Through the command: its address answers, a change is there after it has ended, the status is 130."""
    command = [sys.executable, "-m", "lorakiln", "review", str(raw), "--cache", str(tmp_path / "kept")]
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as ran:
        told = ran.stdout.readline() + ran.stdout.readline()
        address = told.split()[-1]
        assert "6 pictures" in told and address.startswith("http://127.0.0.1:")
        body = b'{"changes": {"a.png": {"caption": "kept"}}}'
        with urllib.request.urlopen(f"{address}api/edit", data=body, timeout=30) as answer:
            assert answer.status == 200
        port = int(address.split(":")[2].split("/")[0])
        with open("/proc/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert [one for one in listening if one.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
        ran.send_signal(signal.SIGINT)
        out, err = ran.communicate(timeout=60)
    assert ran.returncode == 130 and "Traceback" not in err and "interrupted" in (out + err).lower()
    assert (raw / "a.png.edit.yaml").read_text() == "caption: kept\n"


def test_mistakes_are_told(raw, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        assert main(["review", *arguments]) == 1
        return capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    assert "no dataset 'my_dog'" in fail("my_dog")
    (tmp_path / "empty").mkdir()
    assert "no pictures here" in fail("empty")
    assert "cannot lie in the dataset" in fail("raw", "--cache", "raw/small")
    (tmp_path / "x.yaml").write_text("prepare: 1\n")
    assert "prepare" in fail("raw", "--config", "x.yaml")
    assert "missing.yaml" in fail("raw", "--config", "missing.yaml")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"cannot listen at port {port}" in fail("raw", "--port", port)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in ("lorakiln.review.server", "lorakiln.serving.local"):
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name)
    assert "pip install 'lorakiln[review]'" in fail("raw")
