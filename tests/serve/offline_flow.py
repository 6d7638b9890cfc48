"""Run inside a namespace without a route: a folder in; from upload to export against a server there, what was seen out.

python -m tests.serve.offline_flow FOLDER
"""

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pydicom.data
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.run_command import call_residency
from tests.serve.server import draw_study, serving

PLANTED = "Zelda Quimby 19700101"


def plant_picture(path: Path) -> Path:
    """Write a picture whose name and metadata hold an identifier."""
    draw_study(path, 2)
    told = PngInfo()
    told.add_text("PatientName", PLANTED)
    with Image.open(path) as image:
        image.save(path, pnginfo=told)
    return path


def plant_dicom(path: Path) -> Path:
    """Write a DICOM file whose header holds an identifier in several places."""
    whole = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False) or "")
    whole.PatientName, whole.PatientID, whole.StudyDescription = "Quimby^Zelda", "19700101", PLANTED
    whole.save_as(path)
    return path


def check_doors(address: str, token: str) -> dict[str, int]:
    """Return what knocking without the right token, origin or host is answered with."""
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        bearer = {"Authorization": f"Bearer {token}"}
        return {
            "nothing": client.get("/v1/cases").status_code,
            "wrong": client.get("/v1/cases", headers={"Authorization": "Bearer x"}).status_code,
            "basic": client.get("/v1/cases", headers={"Authorization": f"Basic {token}"}).status_code,
            "metrics": client.get("/metrics").status_code,
            "upload": client.post("/v1/interpret", content=b"x" * (1 << 20)).status_code,
            "page": client.get("/").status_code,
            "health": client.get("/health").status_code,
            "right": client.get("/v1/cases", headers=bearer).status_code,
            "host": client.get("/v1/cases", headers={**bearer, "Host": "evil.example"}).status_code,
        }


def has_route() -> bool:
    """Tell whether another machine can be reached."""
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=2).close()
    except OSError as error:
        return "unreachable" not in str(error)
    return True


def main(folder: Path) -> None:
    """Do the whole flow; print what was seen as JSON."""
    seen: dict[str, Any] = {"route": has_route()}
    with serving(folder, "--host", "0.0.0.0") as server:
        told = re.search(r"token \(admin\), told once: (\S+)", server.told.read_text())
        assert told
        seen["doors"] = check_doors(server.address, told[1])
        server.client.headers["Authorization"] = f"Bearer {told[1]}"
        cases = [
            server.interpret(plant_picture(folder / f"{PLANTED}.png"), group=PLANTED),
            server.interpret(plant_dicom(folder / f"{PLANTED}.dcm")),
        ]
        answers = [{"question": "q3", "verdict": "accept"}]
        for case in cases:
            assert server.review(case["case"], author="anybody", rating=4, answers=answers).status_code == 201
        refused = server.client.post("/v1/interpret", files={"file": (f"{PLANTED}.gif", b"GIF89a" + PLANTED.encode())})
        seen["refused"] = refused.status_code
        seen["cases"] = cases
        seen["authors"] = {one["author"] for one in server.client.get("/v1/reviews").json()["reviews"]} == {"admin"}
    out = folder / "answers.xlsx"
    seen["export"] = call_residency("reviews", "export", "--store", folder / "store", "--out", out, "--json")
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
