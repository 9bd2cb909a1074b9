"""Give the workers something to do: send.py NUMBER."""

import sys

from tasks import send_mail

for _ in range(int(sys.argv[1])):
    send_mail.delay()
