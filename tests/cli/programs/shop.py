"""An app that the tests of the command line serve; copied into a folder of each test."""

from __future__ import annotations

import flows

from stepflow import Stepflow

app = Stepflow("sqlite:///stepflow.db", workflows=[flows], worker=False)
