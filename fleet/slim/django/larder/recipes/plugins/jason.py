from django.core import serializers

TYPE = "application/json"


def write(recipes):
    yield serializers.serialize("json", recipes, indent=1)
