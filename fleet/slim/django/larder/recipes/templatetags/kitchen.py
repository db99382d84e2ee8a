from django import template
from django.utils.html import format_html

register = template.Library()


@register.filter
def euros(value):
    return f"{value:.2f} €"


@register.simple_tag
def badge(text):
    return format_html('<b class="badge">{}</b>', text)


@register.inclusion_tag("recipes/part.html")
def card(recipe):
    return {"recipe": recipe}
