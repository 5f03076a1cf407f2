"""The options that many commands share."""

from pathlib import Path
from typing import Annotated, Final

import typer

CONNECTION: Final = "Connection"

Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="TURNWIRE_URL", help="where the API listens", metavar="URL", rich_help_panel=CONNECTION
    ),
]
DEFAULT_URL: Final = "http://127.0.0.1:8000"

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="a file that holds the API key or token; default: the variable TURNWIRE_API_KEY",
        metavar="FILE",
        rich_help_panel=CONNECTION,
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]

Watch = Annotated[bool, typer.Option("--watch", help="look again every second, until Ctrl-C")]

Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="show at most so many")]

Session = Annotated[str, typer.Argument(help="the session", metavar="SESSION", show_default=False)]

SessionOrRun = Annotated[
    str, typer.Argument(help="the session; or a run id, such as chat:demo:0", metavar="SESSION|RUN", show_default=False)
]

Index = Annotated[
    int | None,
    typer.Argument(help="the index of the turn; default: the latest", metavar="INDEX", min=0, show_default=False),
]
