"""``manage.py api_token make|list|revoke``: tokens without a browser."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.models import ApiToken
from trials.services.tokens import TokenError, make_token, revoke_token
from trials.vocab import Scope


class Command(BaseCommand):
    help = "Tokens of programs (docs/api.md). A new one is printed once and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        make = verbs.add_parser("make")
        make.add_argument("user")
        make.add_argument("--name", required=True, help="where it will be used")
        make.add_argument("--scope", action="append", choices=[str(scope) for scope in Scope], help="default: read")
        make.add_argument("--days", type=int, default=90, help="until it expires; 0: never")
        verbs.add_parser("list").add_argument("user")
        verbs.add_parser("revoke").add_argument("token", type=int)

    def handle(self, *, verb: str, **options: Any) -> None:
        if verb == "revoke":
            self._revoke(options["token"])
            return
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"user {options['user']!r} does not exist")
        if verb == "list":
            for token in ApiToken.objects.filter(user=user):
                self.stdout.write(f"{token.pk} {token.state} {token.shown}... {','.join(token.scopes)} {token.name}")
            return
        try:
            secret = make_token(
                user, options["name"], options["scope"] or [str(Scope.READ)], options["days"] or None, actor="command"
            )
        except TokenError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(secret)

    def _revoke(self, pk: int) -> None:
        token = ApiToken.objects.select_related("user").filter(pk=pk).first()
        if token is None:
            raise CommandError(f"token {pk} does not exist")
        revoke_token(token, actor="command")
        self.stdout.write(f"token {pk} of {token.user.get_username()} is revoked")
