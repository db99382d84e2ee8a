import sys

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Avg, Count, Sum
from django.template.loader import render_to_string

from recipes.models import Recipe


class Command(BaseCommand):
    help = "Sums by course"

    def add_arguments(self, parser):
        parser.add_argument("--format", default="text", choices=["text", "html", "toml"])

    def handle(self, *args, format="text", **options):  # noqa: A002
        rows = list(
            Recipe.objects.values("course")
            .annotate(dishes=Count("pk"), mean=Avg("calories"), price=Sum("price"))
            .order_by("course")
        )
        if not rows:
            raise CommandError("the larder is empty")
        if format == "html":
            self.stdout.write(render_to_string("recipes/report.html", {"rows": rows}))
        elif format == "toml":
            import tomllib

            text = "\n".join(f"[{row['course']}]\ndishes = {row['dishes']}" for row in rows)
            self.stdout.write(str(tomllib.loads(text)["main"]["dishes"]))
        else:
            import textwrap

            for row in rows:
                sys.stdout.write(
                    textwrap.shorten(f"{row['course']:10}{row['dishes']} {row['mean']:.0f}", 60) + "\n"
                )
