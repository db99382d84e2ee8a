from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Ingredient",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80, unique=True, verbose_name="name")),
            ],
            options={
                "verbose_name": "ingredient",
                "verbose_name_plural": "ingredients",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("function", models.CharField(max_length=200)),
                ("arguments", models.JSONField(default=list)),
                ("result", models.JSONField(blank=True, null=True)),
                ("done", models.BooleanField(default=False)),
            ],
        ),
        migrations.CreateModel(
            name="Recipe",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("title", models.CharField(max_length=120, verbose_name="title")),
                ("slug", models.SlugField(blank=True, unique=True, verbose_name="address")),
                (
                    "course",
                    models.CharField(
                        choices=[("starter", "starter"), ("main", "main course"), ("dessert", "dessert")],
                        default="main",
                        max_length=10,
                        verbose_name="course",
                    ),
                ),
                ("text", models.TextField(blank=True, verbose_name="text")),
                ("calories", models.PositiveIntegerField(default=0, verbose_name="calories")),
                (
                    "price",
                    models.DecimalField(decimal_places=2, default=0, max_digits=8, verbose_name="price"),
                ),
                ("published", models.DateTimeField(verbose_name="published")),
                ("notes", models.JSONField(blank=True, default=dict, verbose_name="notes")),
                (
                    "ingredients",
                    models.ManyToManyField(blank=True, to="recipes.ingredient", verbose_name="ingredients"),
                ),
            ],
            options={
                "verbose_name": "recipe",
                "verbose_name_plural": "recipes",
                "ordering": ["-published", "title"],
            },
        ),
    ]
