from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _


class Ingredient(models.Model):
    name = models.CharField(_("name"), max_length=80, unique=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("ingredient")
        verbose_name_plural = _("ingredients")

    def __str__(self):
        return self.name


class Recipe(models.Model):
    class Course(models.TextChoices):
        STARTER = "starter", _("starter")
        MAIN = "main", _("main course")
        DESSERT = "dessert", _("dessert")

    title = models.CharField(_("title"), max_length=120)
    slug = models.SlugField(_("address"), unique=True, blank=True)
    course = models.CharField(_("course"), max_length=10, choices=Course.choices, default=Course.MAIN)
    text = models.TextField(_("text"), blank=True)
    calories = models.PositiveIntegerField(_("calories"), default=0)
    price = models.DecimalField(_("price"), max_digits=8, decimal_places=2, default=0)
    published = models.DateTimeField(_("published"))
    ingredients = models.ManyToManyField(Ingredient, blank=True, verbose_name=_("ingredients"))
    notes = models.JSONField(_("notes"), default=dict, blank=True)

    class Meta:
        ordering = ["-published", "title"]
        verbose_name = _("recipe")
        verbose_name_plural = _("recipes")

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("recipes:detail", args=[self.slug])


class Job(models.Model):
    """Work that was put off: a function's dotted path, its arguments, and what came of it."""

    function = models.CharField(max_length=200)
    arguments = models.JSONField(default=list)
    result = models.JSONField(null=True, blank=True)
    done = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.function}{tuple(self.arguments)}"
