"""`python -m multiprom`: the `multiprom` command."""

from multiprom.cli.command import main

raise SystemExit(main())
