"""`rules`, `nli:MODEL` or a server's address in, the judge and the name that is stamped on its scores out."""

from dataclasses import dataclass
from pathlib import Path

from residency.errors import UserError
from residency.evaluate.claims.claim import Judge
from residency.evaluate.claims.rules import judge_by_rules
from residency.judges.server import Speaker, open_server

ALLOWED = ("rules", "nli:FOLDER or nli:HUB/NAME", "http://HOST:PORT/v1 or http://HOST:PORT/v1#MODEL")


@dataclass(frozen=True)
class OpenedJudge:
    """A judge and its full name."""

    judge: Judge
    name: str


def open_judge(asked: str, *, remote: bool = False) -> OpenedJudge:
    """Return the judge that a name means; `remote` allows a server beyond this machine and its own network.

    Raises:
        UserError: an unknown name, a model that is no judge, a server that does not answer or is not ours.
    """
    if asked == "rules":
        return OpenedJudge(judge_by_rules, "rules")
    if asked.startswith("nli:"):
        from residency.judges.encoder import open_encoder

        encoder = open_encoder(asked.removeprefix("nli:"))
        return OpenedJudge(encoder.judge, f"nli:{encoder.name}")
    if asked.startswith(("http://", "https://")):
        server = open_server(asked, remote=remote)
        return OpenedJudge(server.judge, server.name)
    found = f"{asked} (a folder: nli:{asked})" if Path(asked).is_dir() else asked
    raise UserError("no such judge", found=found, allowed=ALLOWED)


def open_speaker(asked: str, *, remote: bool = False) -> Speaker:
    """Return the language model at an address or in a folder; `remote` as for a judge.

    Raises:
        UserError: neither, a folder without a language model, or a server that does not answer or is not ours.
    """
    if asked.startswith(("http://", "https://")):
        return open_server(asked, remote=remote)
    if Path(asked).is_dir():
        from residency.judges.local import open_local

        return open_local(asked)
    raise UserError("no such language model", found=asked, allowed=("http://HOST:PORT/v1#MODEL", "a folder"))
