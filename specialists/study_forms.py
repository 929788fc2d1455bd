"""The admin's launch form for studies: the same checks as the command, shown at their fields."""

from __future__ import annotations

from typing import Any

from django import forms

from specialists.forms import environment_choices, pairs, profile_choices
from specialists.launch import LEVELS
from specialists.studies.plan import ARMS, CATALOG_VS_LLM, ROSTER, TESTS, StudyError, StudySettings, make_plan
from specialists.vocab import ProposerName
from trials.vocab import KeepRule


class StudyForm(forms.Form):
    """One field for each of StudySettings."""

    name = forms.CharField(max_length=120, required=False, help_text="A name is made from the plan when empty.")
    environment = forms.ChoiceField(choices=environment_choices)
    profile = forms.ChoiceField(choices=profile_choices, initial="cpu")
    arms = forms.CharField(
        max_length=1000,
        initial="swarm,no-lineage,random",
        help_text="Separated by commas, the one on trial first: " + ", ".join((*ARMS, CATALOG_VS_LLM, f"{ROSTER}NAME")),
    )
    repeats = forms.IntegerField(initial=5, help_text="Campaigns of each arm, with seeds that follow each other.")
    trials = forms.IntegerField(initial=40, help_text="Of each campaign.")
    proposer = forms.ChoiceField(choices=pairs(ProposerName), help_text="Of arms that do not name their own.")
    keep_rule = forms.ChoiceField(choices=pairs(KeepRule), initial=KeepRule.VERIFIED)
    hours = forms.FloatField(initial=24.0, help_text="At most, of each campaign.")
    slots = forms.IntegerField(initial=2, help_text="Trials in flight at once, of each campaign.")
    parallel = forms.IntegerField(initial=1, help_text="Campaigns at once.")
    seed = forms.IntegerField(initial=0, help_text="Of the first repeat.")
    reproducible = forms.BooleanField(required=False)
    level = forms.ChoiceField(choices=pairs(LEVELS), initial="L2", help_text="The least isolation that is accepted.")
    usd = forms.FloatField(required=False, help_text="US dollars for language models, each campaign.")
    test = forms.ChoiceField(choices=list(TESTS.items()), help_text="Named now, in the record before the first trial.")
    alpha = forms.FloatField(initial=0.05, help_text="Error that all comparisons together may make.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                make_plan(self.chosen())
            except StudyError as error:
                self.add_error(error.field if error.field in self.fields else None, error.message)
        return cleaned

    def chosen(self) -> StudySettings:
        """The settings of a form whose fields are valid."""
        arms = tuple(name.strip() for name in self.cleaned_data["arms"].split(",") if name.strip())
        return StudySettings(**{**self.cleaned_data, "arms": arms})
