"""Where the small committed runs and results are that report and card are tested on."""

from __future__ import annotations

from tests.conftest import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "records"
