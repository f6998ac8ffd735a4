"""Execute: run one page's blocks in the present folder, as a program of its own: ``python -m tests.docs.execute PAGE``.

The page is one module: what a block defines, later ones see. Blocks may ``await`` at their top level, as in ``python -m asyncio``; those that don't run
without an event loop, so whole programs with ``asyncio.run`` work too.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
import types
from pathlib import Path

from tests.docs.pages import Block, blocks

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_END = "-- end of the command --"


class PageError(Exception):
    """A block does not do what the page says."""


class Shell:
    """One bash for all sessions of a page, so that what runs in the background of one is there in the next."""

    def __init__(self) -> None:
        self._bash: subprocess.Popen[str] | None = None

    def run(self, command: str) -> str:
        """What the command printed on both streams, up to its end."""
        bash = self._bash = self._bash or subprocess.Popen(
            ["/bin/bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        assert bash.stdin is not None and bash.stdout is not None
        bash.stdin.write(f"{command}\necho; echo {_END}\n")
        bash.stdin.flush()
        printed: list[str] = []
        for line in bash.stdout:
            if line == f"{_END}\n":
                return "".join(printed)
            printed.append(line)
        raise PageError(f"the shell ended within: {command}")

    def close(self) -> None:
        """Let the shell end; the test ends what it left in the background."""
        if self._bash is not None:
            assert self._bash.stdin is not None
            self._bash.stdin.close()
            self._bash.wait()


class Page:
    """A page while it is executed."""

    def __init__(self, path: Path, runner: asyncio.Runner, shell: Shell) -> None:
        self._path = path
        self._runner = runner
        self._shell = shell
        self._module = types.ModuleType("page")
        sys.modules["page"] = self._module  # dataclasses look their annotations up there
        self._printed: str | None = None

    def execute(self, block: Block) -> None:
        """Do what the block's language and marker say; raises if that fails."""
        match block.language, block.verb:
            case _, "no-run":
                self._compile(block)
            case _, "file":
                file = Path(block.value)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
            case _, "output":
                self._compare(block, block.text, self._printed)
            case "python", "raises":
                self._expect(block)
            case "python", _:
                self._run(block)
            case "console", _:
                self._session(block)
            case _:
                pass

    def _compile(self, block: Block) -> types.CodeType | None:
        if block.language != "python":
            return None
        # Empty lines in front, so that tracebacks show the line of the page.
        text = "\n" * (block.line - 1) + block.text
        code: types.CodeType = compile(text, str(self._path), "exec", flags=_FLAGS)
        return code

    def _run(self, block: Block) -> None:
        code = self._compile(block)
        assert code is not None
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            run = types.FunctionType(code, self._module.__dict__)
            result = run()
            if asyncio.iscoroutine(result):
                self._runner.run(result)
        self._printed = printed.getvalue()

    def _expect(self, block: Block) -> None:
        try:
            self._run(block)
        except BaseException as error:
            if type(error).__name__ != block.value:
                raise
        else:
            raise PageError(f"{self._path}:{block.line}: it did not raise {block.value}")

    def _session(self, block: Block) -> None:
        commands = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
        if commands[0]:
            raise PageError(f"{self._path}:{block.line}: a session begins with '$ '")
        for each in commands[1:]:
            command, _, expected = each.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = f"{command}\n{more}"
            self._compare(block, expected, self._shell.run(command), what=f"$ {command}")

    def _compare(
        self, block: Block, expected: str, printed: str | None, what: str = "the block above"
    ) -> None:
        pattern = ".*?".join(re.escape(part) for part in expected.strip().split("..."))
        if printed is None or not re.fullmatch(pattern, printed.strip(), re.DOTALL):
            raise PageError(
                f"{self._path}:{block.line}: {what} printed:\n{printed}\nand the page says:\n{expected}"
            )


def main(path: Path) -> None:
    with asyncio.Runner() as runner, contextlib.closing(Shell()) as shell:
        page = Page(path, runner, shell)
        for block in blocks(path.read_text(encoding="utf-8")):
            page.execute(block)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
