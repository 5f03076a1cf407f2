"""The command `turnwire`: it asks turns and operates a service over HTTP. docs/cli.md describes every command.

Rule 1: only `doctor` asks Redis. Every other command does what any client of the API can do.
Rule 2: text that others wrote is shown through `screen.visible`, so that it cannot control the terminal.
Rule 3: a module imports what takes long, such as httpx, inside the function that needs it: `--help` must be quick.
"""

if __name__ == "cli":
    raise ImportError("Turnwire's modules are imported as `turnwire.cli`, not as `cli`")
