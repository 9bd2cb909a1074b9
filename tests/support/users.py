"""Another user than root, as which servers run."""

from __future__ import annotations

import os
import pwd

# Only root can become somebody else.
USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
