"""Studies: arms of campaigns that differ in one thing, run to the end and compared by a test named beforehand."""
