from django.urls import path, re_path

from . import views

app_name = "recipes"
urlpatterns = [
    path("", views.home, name="home"),
    path("recipes/", views.RecipeList.as_view(), name="list"),
    path("recipes/<slug:slug>/", views.RecipeDetail.as_view(), name="detail"),
    path("contact/", views.contact, name="contact"),
    path("upload/", views.upload, name="upload"),
    path("export/<str:kind>/", views.export, name="export"),
    path("clock/", views.clock, name="clock"),
    path("boom/", views.boom, name="boom"),
    path("sums/", views.sums, name="sums"),
    path("later/", views.later, name="later"),
    re_path(r"^api/recipes/(?P<pk>[0-9]+)?$", views.api, name="api"),
]
