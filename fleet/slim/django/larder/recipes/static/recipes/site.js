document.documentElement.dataset.ready = gettext("yes");
