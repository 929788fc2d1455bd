"""The admin's launch form: the same checks as the command, shown at their fields."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User

from evaluators.registry import ENVIRONMENTS
from specialists.launch import LEVELS, LaunchError, LaunchSettings, launch_campaign, validate
from specialists.roster_store import titles
from specialists.vocab import ProposerName
from trials.models import Campaign
from trials.services import shares
from trials.vocab import Enforcement, KeepRule, LineagePolicy

APPROVED_STEPS = ("approve_trials", "approve_hours", "approve_usd")


def pairs(values: Any) -> list[tuple[str, str]]:
    return [(str(value), str(value)) for value in values]


def environment_choices() -> list[tuple[str, str]]:
    return [(name, environment.spec.title) for name, environment in ENVIRONMENTS.items()]


def profile_choices() -> list[tuple[str, str]]:
    return pairs(sorted({name for environment in ENVIRONMENTS.values() for name in environment.spec.profiles}))


def _rosters() -> list[tuple[str, str]]:
    return list(titles().items())


class LaunchForm(forms.Form):
    """One field for each of LaunchSettings."""

    name = forms.CharField(max_length=120, required=False, help_text="Shown on every page; a name is made when empty.")
    environment = forms.ChoiceField(choices=environment_choices)
    profile = forms.ChoiceField(choices=profile_choices, initial="cpu")
    roster = forms.ChoiceField(choices=_rosters)
    proposer = forms.ChoiceField(choices=pairs(ProposerName))
    lineage = forms.ChoiceField(choices=pairs(LineagePolicy), help_text="What a role sees of earlier trials.")
    keep_rule = forms.ChoiceField(
        choices=pairs(KeepRule),
        initial=KeepRule.VERIFIED,
        help_text="verified: what looks better is measured again on fresh seeds; strict: one better score is enough.",
    )
    enforcement = forms.ChoiceField(
        choices=pairs(Enforcement),
        initial=Enforcement.STRICT,
        help_text="Edits outside a role's files: strict refuses them, advisory measures and records them.",
    )
    trials = forms.IntegerField(initial=60, help_text="The search ends after this many trials.")
    hours = forms.FloatField(initial=24.0)
    no_improvement_hours = forms.FloatField(initial=4.0, help_text="The search ends when nothing improved for so long.")
    slots = forms.IntegerField(initial=2, help_text="Trials in flight at once.")
    weight = forms.IntegerField(
        initial=1, required=False, help_text="1 to 100: where campaigns compete for evaluators, their shares go by it."
    )
    seed = forms.IntegerField(initial=0)
    reproducible = forms.BooleanField(
        required=False, help_text="Outcomes are revealed in number order: the same seed repeats the same search."
    )
    start_from = forms.CharField(
        max_length=100, required=False, help_text="SLUG or SLUG:TRIAL of a campaign to start from its best or a keep."
    )
    approve_keeps = forms.BooleanField(required=False, help_text="A person is asked before a keep becomes the base.")
    approve_trials = forms.IntegerField(initial=0, required=False, help_text="A person is asked after each so many.")
    approve_hours = forms.FloatField(initial=0, required=False, help_text="A person is asked after each so many.")
    approve_usd = forms.FloatField(
        initial=0, required=False, help_text="A person is asked after each so many US dollars for language models."
    )
    level = forms.ChoiceField(choices=pairs(LEVELS), initial="L2", help_text="The least isolation that is accepted.")
    usd = forms.FloatField(
        required=False, label="US dollars", help_text="For language models; empty: as the server is set."
    )

    def __init__(self, *args: Any, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                validate(self.chosen(), self._user)
            except LaunchError as error:
                self.add_error(error.field if error.field in self.fields else None, error.message)
        return cleaned

    def launch(self, user: User) -> Campaign | None:
        """The campaign of a form that was sent and can be used; None, with an error at the form, otherwise."""
        if not self.is_valid():
            return None
        try:
            return launch_campaign(self.chosen(), actor=user.get_username(), user=user)
        except (LaunchError, ValueError, OSError) as error:
            self.add_error(None, str(error))
            return None

    def chosen(self) -> LaunchSettings:
        """The settings of a form whose fields are valid."""
        steps = {name: self.cleaned_data[name] or 0 for name in APPROVED_STEPS}
        weight = self.cleaned_data["weight"]
        return LaunchSettings(**self.cleaned_data | steps | {"weight": shares.LEAST if weight is None else weight})
