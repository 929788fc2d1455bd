"""The program that ``evaluators.sandbox.spawn`` starts; small, because a program's own file is compiled each time."""

import confine

confine.start()
