"""What a user did or brought that cannot go on: in come findings, out goes one message that says what to do."""

from collections.abc import Sequence

from residency.types import Problem


class UserError(Exception):
    """An error that the user can mend: what failed, what was found, what is allowed, what to do next.

    `exit_code` is 1 where data or a run failed a check, 2 where the call itself was wrong.
    """

    def __init__(
        self,
        what: str,
        *,
        found: object = None,
        allowed: object = None,
        do: str | None = None,
        exit_code: int = 2,
    ) -> None:
        self.what, self.found, self.allowed, self.do, self.exit_code = what, found, allowed, do, exit_code
        lines = [what]
        if found is not None:
            lines.append(f"  found:   {_listed(found)}")
        if allowed is not None:
            lines.append(f"  allowed: {_listed(allowed)}")
        if do is not None:
            lines.append(f"  do:      {do}")
        super().__init__("\n".join(lines))


class CheckFailed(UserError):
    """A named check that data or a run did not pass (exit code 1); carries every problem found, not the first.

    `most` are shown (None: all), the others counted.
    """

    def __init__(
        self, check: str, problems: Sequence[Problem], *, do: str | None = None, most: int | None = None
    ) -> None:
        self.check, self.problems = check, tuple(problems)
        shown = "\n".join(f"  {problem}" for problem in self.problems[:most])
        if most is not None and (left := len(self.problems[most:])):
            shown += f"\n  and {left} more"
        super().__init__(f"check failed: {check}: {len(self.problems)} problem(s)\n{shown}", do=do, exit_code=1)


class MissingExtra(UserError):
    """An optional dependency that is not installed; the message holds the exact install line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", do=f"pip install 'residency[{extra}]'")
        self.package, self.extra = package, extra

    def __reduce__(self) -> "tuple[type[MissingExtra], tuple[str, str]]":
        """Let a process hand the error to another."""
        return MissingExtra, (self.package, self.extra)


def _listed(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        return str(value)
    return ", ".join(str(item) for item in value)
