"""The admin's page on which a person answers what a campaign asks: what waits, with what speaks for it, yes or no."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from specialists import launch
from trials.checkpoints import told
from trials.formatting import delta, score, visible
from trials.models import Approval, Campaign
from trials.services.approvals import REMARK_LENGTH
from trials.services.campaigns import WrongState
from trials.vocab import Answer

HYPOTHESIS_CHARACTERS = 600


class AnswerForm(forms.Form):
    """Which questions, yes or no, and why. A question that was answered meanwhile is no choice any more."""

    questions = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose what you answer.", "invalid_choice": "A question does not wait any more."},
    )
    remark = forms.CharField(max_length=REMARK_LENGTH, required=False, help_text="Why. It enters the record.")
    answer = forms.ChoiceField(choices=[(str(one), str(one)) for one in (Answer.APPROVED, Answer.REFUSED)])

    def __init__(self, waiting: list[Approval], *arguments: Any) -> None:
        super().__init__(*arguments)
        choices = self.fields["questions"]
        assert isinstance(choices, forms.MultipleChoiceField)
        choices.choices = [(str(one.number), str(one.number)) for one in waiting]


def decide(request: HttpRequest, campaign: Campaign, context: dict[str, Any]) -> HttpResponse:
    """GET shows what waits; POST answers it. Who may come here is the caller's to check."""
    waiting = list(Approval.objects.open(campaign.pk).select_related("trial__parent"))
    form = AnswerForm(waiting, request.POST or None)
    if request.method == "POST" and form.is_valid():
        numbers = [int(number) for number in form.cleaned_data["questions"]]
        given, remark = Answer(form.cleaned_data["answer"]), form.cleaned_data["remark"]
        try:
            answered = launch.answer(campaign, given, actor=request.user.get_username(), numbers=numbers, remark=remark)
        except WrongState as error:
            form.add_error(None, str(error))
        else:
            for one in answered:
                messages.success(request, f"{campaign.name}: {one.answer}: {_asked(one)}")
            return HttpResponseRedirect(campaign.get_absolute_url())
    questions = [_question(campaign, one) for one in waiting]
    return TemplateResponse(
        request, "admin/decide.html", context | {"campaign": campaign, "form": form, "questions": questions}
    )


def _asked(approval: Approval) -> str:
    return told([(approval.subject, None if approval.trial is None else approval.trial.number, approval.used)])


def _question(campaign: Campaign, approval: Approval) -> dict[str, Any]:
    """One question as plain values."""
    shown: dict[str, Any] = {"number": approval.number, "told": _asked(approval), "asked_at": approval.asked_at}
    trial = approval.trial
    if trial is None or approval.score is None:
        return shown
    gain = None if campaign.best_score is None else approval.score - campaign.best_score
    return shown | {
        "trial": trial,
        "hypothesis": visible(trial.hypothesis)[:HYPOTHESIS_CHARACTERS],
        "score": score(approval.score),
        "gain": delta(gain),
        "parent": None if trial.parent is None else trial.parent.number,
    }
