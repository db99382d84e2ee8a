from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from .models import Ingredient, Job, Recipe


@admin.action(description=_("Publish now"))
def publish(modeladmin, request, queryset):
    from django.utils import timezone

    modeladmin.message_user(request, f"{queryset.update(published=timezone.now())} published")


@admin.register(Recipe)
class RecipeAdmin(admin.ModelAdmin):
    list_display = ["title", "course", "calories", "price", "published"]
    list_filter = ["course", "published"]
    search_fields = ["title", "text"]
    date_hierarchy = "published"
    filter_horizontal = ["ingredients"]
    prepopulated_fields = {"slug": ["title"]}
    actions = [publish]


admin.site.register(Ingredient)
admin.site.register(Job)
admin.site.site_header = _("The larder's kitchen")
