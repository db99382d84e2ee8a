from datetime import UTC, datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from recipes.models import Ingredient, Recipe

DISHES = [
    (
        "Gratin dauphinois",
        "main",
        2412,
        "Slice, layer, **bake**.\n\n| gram | what |\n|---|---|\n| 500 | cream |\n",
    ),
    ("Leek soup", "starter", 180, "Cut the leeks[^1].\n\n[^1]: The white parts.\n"),
    ("Crème brûlée", "dessert", 640, "```\nburn(sugar)\n```\n"),
    ("Ratatouille", "main", 320, "Slowly."),
    ("Île flottante", "dessert", 410, "Beat the whites."),
    ("Onion tart", "starter", 520, "Weep."),
    ("Cassoulet", "main", 1250, "Wait."),
]


class Command(BaseCommand):
    help = "Fill an empty larder"

    def handle(self, *args, **options):
        if Recipe.objects.exists():
            return
        salt = Ingredient.objects.create(name="salt")
        for number, (title, course, calories, text) in enumerate(DISHES):
            recipe = Recipe.objects.create(
                title=title,
                course=course,
                calories=calories,
                text=text,
                price=Decimal(number) + Decimal("4.50"),
                published=datetime(2024, 1, 1 + number, 12, tzinfo=UTC),
            )
            recipe.ingredients.add(salt)
        User.objects.create_superuser("chef", "chef@larder.example", "butter and salt")
