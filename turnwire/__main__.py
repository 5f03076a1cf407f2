"""`python -m turnwire` is the command `turnwire`."""

from turnwire.cli.app import main

if __name__ == "__main__":
    main()
