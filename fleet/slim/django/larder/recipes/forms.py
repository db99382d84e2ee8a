from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _


class ContactForm(forms.Form):
    name = forms.CharField(label=_("Your name"), max_length=40)
    email = forms.EmailField(label=_("Your address"))
    day = forms.DateField(label=_("Day"), required=False, widget=forms.SelectDateWidget)
    phone = forms.CharField(
        label=_("Telephone"), required=False, validators=[RegexValidator(r"^\+?[0-9 ]+$")]
    )
    guests = forms.IntegerField(label=_("Guests"), min_value=1, max_value=12)
    message = forms.CharField(label=_("Message"), widget=forms.Textarea)


class UploadForm(forms.Form):
    file = forms.FileField(label=_("File"))
    encoding = forms.CharField(initial="utf-8")
