"""The admin's forms for rosters: what a launch would refuse is refused when it is written."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet

from evaluators.registry import ENVIRONMENTS
from specialists.models import StoredRole, StoredRoster
from specialists.rosters import TITLES, Role, Roster, RosterError, check


class FilesField(forms.CharField):
    """File names separated by commas or spaces <-> a list."""

    def to_python(self, value: Any) -> Any:
        return str(value or "").replace(",", " ").split()

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))


class RosterForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = StoredRoster
        fields = ("name", "title", "environment", "shared")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        titles = [(name, environment.spec.title) for name, environment in ENVIRONMENTS.items()]
        self.fields["environment"] = forms.ChoiceField(choices=titles)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name in TITLES:
            raise forms.ValidationError(f"{name} is one of the built-in rosters, expected another name")
        return name


class RoleForm(forms.ModelForm):  # type: ignore[type-arg]
    surface = FilesField(
        required=False,
        help_text="Files that it may change, separated by commas.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 28}),
    )

    class Meta:
        model = StoredRole
        fields = ("name", "surface", "preamble", "priors")
        widgets = {  # noqa: RUF012 - Django reads it
            "name": forms.TextInput(attrs={"size": 18}),
            "preamble": forms.Textarea(attrs={"rows": 3, "cols": 40}),
            "priors": forms.Textarea(attrs={"rows": 3, "cols": 40}),
        }


class RoleFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """All roles of a roster at once: what is wrong with them together is told above them, one thing at a time."""

    def clean(self) -> None:
        super().clean()
        environment = ENVIRONMENTS.get(self.instance.environment)
        if any(self.errors) or environment is None or not self.instance.name:
            return
        roles = [form.cleaned_data for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        made = tuple(Role(role["name"], tuple(role["surface"]), role["preamble"], role["priors"]) for role in roles)
        roster = Roster(self.instance.name, self.instance.title, environment.spec.name, made, self.instance.shared)
        try:
            check(roster, environment.spec)
        except RosterError as error:
            raise forms.ValidationError(str(error)) from error
