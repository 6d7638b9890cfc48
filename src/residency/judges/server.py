"""An OpenAI-compatible server in (vLLM, Ollama, `transformers serve`); a judge, or one that answers in words, out.

The words of patients do not leave the house unasked: a host that is neither this machine nor of a private network is
refused unless it is allowed by name of the option.
"""

import base64
import ipaddress
import json
import mimetypes
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from residency.errors import UserError
from residency.evaluate.claims.claim import Claim, Label

SECONDS, TRIES, AT_ONCE, KEY = 120, 2, 4, "RESIDENCY_JUDGE_KEY"
_ASKED = (
    "You compare one claim with a reference about one medical image. Answer with one word. entailed: the reference "
    "says so. contradicted: the reference says otherwise. neutral: the reference does not tell."
)
_WORDS: dict[str, Label] = {
    "entailed": "entailed", "entailment": "entailed", "contradicted": "contradicted", "contradiction": "contradicted",
    "neutral": "neutral",
}  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What is said to a language model: its task, what it is about, an image where it can see one, and what was said
    before: examples of the task with their answers."""

    system: str
    asked: str
    image: Path | None = None
    examples: tuple[tuple[str, str], ...] = ()

    def turns(self) -> list[dict[str, Any]]:
        """Return the turns of the talk, as chat templates and servers take them; the image stands aside."""
        before = [turn for asked, told in self.examples for turn in (("user", asked), ("assistant", told))]
        told = (("system", self.system), *before, ("user", self.asked))
        return [{"role": role, "content": content} for role, content in told]


class Speaker(Protocol):
    """A language model that answers in words, at temperature 0; `place` is where what is said to it goes."""

    @property
    def name(self) -> str:
        """Its full name."""

    @property
    def place(self) -> str:
        """Where what is said to it goes."""

    def say(self, asked: Sequence[Words], max_tokens: int) -> list[str | None]:
        """Return what is said to each; None where no answer came."""


@dataclass(frozen=True)
class Server:
    """A server that answered, and the model that is asked."""

    url: str
    model: str

    @property
    def name(self) -> str:
        """The address and the model, as stamped on what it judged."""
        return f"{self.url}#{self.model}"

    @property
    def place(self) -> str:
        """Where what is said to it goes."""
        return self.url

    def judge(self, reference: Sequence[Claim], asked: Sequence[Claim]) -> list[Label | None]:
        """Return a label for each claim; no answer, or another word, is a failure."""
        premise = "\n".join(f"- {claim.text}" for claim in reference)
        told = [Words(_ASKED, f"Reference:\n{premise}\n\nClaim: {claim.text}\n\nOne word:") for claim in asked]
        return [_WORDS.get(one_word(said)) for said in self.say(told, 16)]

    def say(self, asked: Sequence[Words], max_tokens: int) -> list[str | None]:
        """Return what is said to each; None where no answer came."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda words: self._say(words, max_tokens), asked))

    def _say(self, words: Words, max_tokens: int) -> str | None:
        told = words.turns()
        if words.image is not None:
            picture = {"type": "image_url", "image_url": _embed(words.image)}
            told[-1]["content"] = [{"type": "text", "text": words.asked}, picture]
        body = {"model": self.model, "messages": told, "temperature": 0, "max_tokens": max_tokens}
        for _ in range(TRIES):
            try:
                return str(_request(f"{self.url}/chat/completions", body)["choices"][0]["message"]["content"]).strip()
            except (OSError, ValueError, KeyError, IndexError, TypeError):
                continue
        return None


def open_server(address: str, *, remote: bool = False) -> Server:
    """Return the server at `URL` or `URL#MODEL`; without a model the first that it offers is asked.

    A server that lists none (`transformers serve FOLDER`) is asked for the one that is named.

    Raises:
        UserError: its host is not ours and `remote` is not set, it does not answer, or it lacks the model.
    """
    url, _, model = address.partition("#")
    url = url.rstrip("/")
    if not remote and not _is_ours(url):
        raise UserError(
            f"{url} is not on this machine or its own network",
            found="claims about patients would leave the house",
            do="run the server here (vLLM, Ollama, transformers serve), or allow it with --remote",
        )
    try:
        offered = [str(one["id"]) for one in _request(f"{url}/models")["data"]]
    except HTTPError:  # it answers, but lists nothing
        offered = []
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = getattr(error, "reason", None) or error
        do = "start it, and see that the address is right: http://HOST:PORT/v1#MODEL"
        raise UserError(f"{url} does not answer as an OpenAI-compatible server", found=found, do=do) from None
    if offered and model and model not in offered:
        raise UserError(f"{url} has no such model", found=model, allowed=offered)
    if not offered and not model:
        raise UserError(f"{url} lists no model", do=f"name the one that it runs: {url}#MODEL")
    return Server(url, model or offered[0])


def one_word(said: str | None) -> str:
    """Return an answer of one word in small letters, without what may stand around it."""
    return (said or "").strip().strip("*.\"'` ").casefold()


def _embed(image: Path) -> dict[str, str]:
    kind = mimetypes.guess_type(image.name)[0] or "image/png"
    return {"url": f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"}


def _request(url: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    direct = build_opener(ProxyHandler({}))  # a proxy would see what is asked
    with direct.open(Request(url, data=data, headers=headers), timeout=SECONDS) as answer:
        return json.load(answer)


def _is_ours(url: str) -> bool:
    """Tell whether every address of a URL's host is this machine's or a private network's."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None)
    except (OSError, UnicodeError):
        return True  # no such host: the request says so
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_private for entry in found)
