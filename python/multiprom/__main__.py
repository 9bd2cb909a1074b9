"""`python -m multiprom`: the `multiprom` command."""

from multiprom.cli import main

raise SystemExit(main())
