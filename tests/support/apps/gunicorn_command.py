"""What pip writes as the `gunicorn` command, for whichever gunicorn is found first.

`python -m gunicorn` would not do: USR2 executes the file of the running program again, and from
inside the package its `http` would hide the standard library's.
"""

import sys

from gunicorn.app.wsgiapp import run

if __name__ == "__main__":
    sys.exit(run())
